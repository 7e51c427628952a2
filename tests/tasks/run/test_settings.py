"""Settings from the command line, from a file, and back into a file."""

import dataclasses
import json
import re
import tomllib
from pathlib import Path
from typing import Any, ClassVar

import pytest
from conftest import rows, tiny_config, write, write_checkpoint
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import make_run

from minibert.errors import InputError
from minibert.training.state import require_same_fingerprint
from tasks import registry
from tasks.classification.settings import ClassificationSettings
from tasks.run.options import SECTIONS, parse, read_settings, write_settings
from tasks.run.prepare import settings_line
from tasks.settings import RecordSettings


class Settings(ClassificationSettings):
    if_small: ClassVar[dict[str, Any]] = {"epochs": 7, "lr": 1e-3, "batch_size": 6}


def parsed(*argv: str) -> Any:
    return parse(Settings, argv, task="classification")


def toml(tmp_path: Path, text: str) -> str:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_command_line_goes_before_the_file_and_the_file_before_the_defaults(tmp_path: Path) -> None:
    path = toml(tmp_path, 'task = "classification"\nbatch-size = 8\nlr = 1\nclean = ["a -> b"]\nbaseline = false\n')
    settings = parsed("--config", path, "--batch-size", "4").settings
    assert (settings.batch_size, settings.lr, settings.clean, settings.baseline) == (4, 1.0, ("a -> b",), False)
    assert (settings.epochs, settings.seed) == (7, 42)  # from random weights, and the default


def test_a_small_models_batch_size_gives_way_to_tokens(tmp_path: Path) -> None:
    path = toml(tmp_path, "batch_tokens = 512")
    settings = parsed("--config", path).settings
    assert (settings.batch_size, settings.batch_tokens) == (None, 512)
    assert parsed().settings.batch_size == 6
    assert parsed("--weights", "elsewhere", "--config", path).settings.epochs == 3


def test_a_batch_size_on_the_command_line_replaces_tokens_of_the_file(tmp_path: Path) -> None:
    settings = parsed("--config", toml(tmp_path, "batch_tokens = 4096"), "--batch-size", "7").settings
    assert (settings.batch_size, settings.batch_tokens) == (7, None)


def test_a_folder_is_the_same_with_a_slash_behind_it(tmp_path: Path) -> None:
    folder = parsed("--weights", str(tmp_path)).settings
    require_same_fingerprint(folder.fingerprint(), parsed("--weights", f"{tmp_path}/").settings.fingerprint())
    with pytest.raises(InputError, match="--weights changed"):
        require_same_fingerprint(folder.fingerprint(), parsed("--weights", f"{tmp_path}-2").settings.fingerprint())


def test_flags_have_a_no_form_and_lists_are_given_again() -> None:
    settings = parsed("--no-baseline", "--clean", "a -> b", "--clean", "c -> ").settings
    assert (settings.baseline, settings.clean) == (False, ("a -> b", "c -> "))


def test_weights_leave_the_defaults_of_random_weights_aside(tmp_path: Path) -> None:
    assert parsed("--weights", "x").settings.epochs == 3
    assert parsed("--config", toml(tmp_path, 'weights = "x"')).settings.epochs == 3


def test_weights_are_compared_before_the_defaults_that_they_change() -> None:
    """Who resumes with other weights is told so, not that --epochs changed."""
    random, pretrained = (parsed(*argv).settings.fingerprint() for argv in ((), ("--weights", "x")))
    assert random["--epochs"] != pretrained["--epochs"]
    assert next(name for name in pretrained if random[name] != pretrained[name]) == "--weights"


def test_the_learning_rate_falls_with_the_square_of_the_width() -> None:
    """From the usual one at 768, which wider models keep."""
    rates = {64: 1e-3, 192: 8e-4, 256: 4.5e-4, 384: 2e-4, 768: 5e-5, 1024: 5e-5}
    for width, rate in rates.items():
        assert ClassificationSettings().for_width(width).lr == pytest.approx(rate)
        assert ClassificationSettings(lr=3e-5).for_width(width).lr == 3e-5


@pytest.mark.slow
def test_a_run_takes_the_rate_of_its_model(tmp_path: Path) -> None:
    weights = make_run(tmp_path / "weights", "classification")
    train = write(tmp_path / "train.jsonl", rows(24))
    options = ["--train", train, "--weights", weights, "--epochs", "1", "--no-baseline"]
    run = registry.run("classification", [*options, "--out", str(tmp_path / "run")])
    assert tomllib.loads((run / "settings.toml").read_text(encoding="utf-8"))["lr"] == 1e-3
    first = json.loads((run / "train_log.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert 0 < first["lr"] <= 1e-3
    assert first["lr"] > 5e-5


def test_a_dry_run_is_no_setting() -> None:
    assert parsed("--dry-run").dry_run
    assert not parsed().dry_run


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "epoch is not a setting of this task; did you mean epochs?"),
        ("zzz = 3", "zzz is not a setting of this task; python -m tasks.classification --help lists"),
        ('epochs = "3"', "epochs must be a whole number, not '3'"),
        ("epochs = 3.5", "epochs must be a whole number, not 3.5"),
        ("epochs = true", "epochs must be a whole number, not True"),
        ("baseline = 1", "baseline must be true or false, not 1"),
        ('clean = "a -> b"', "clean must be a list of texts"),
        ("clean = [1]", "clean must be a list of texts"),
        ('task = "ner"', "has the settings of the task 'ner'; run python -m tasks.ner"),
        ("epochs 3", "not TOML"),
        ('weights = ""', "--weights: is empty (an unset shell variable?); give a value"),
        ('train = ""', "--train: is empty"),
        ("epochs = 0", "--epochs 0: must be 1 or more"),
        ("[epochs]\na = 1", "epochs must be a whole number"),
        ("batch-size = 8\nbatch_size = 16", "batch_size is there twice, with a hyphen and with an underscore"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parsed("--config", toml(tmp_path, text))
    assert message in str(error.value)


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: no such file"):
        parsed("--config", str(tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bytes\.toml: not TOML"):
        parsed("--config", str(tmp_path / "bytes.toml"))


@pytest.mark.slow
@given(
    clean=st.lists(
        st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8).map(
            lambda text: f"{re.escape(text)}x -> y"
        ),
        max_size=3,
    ).map(tuple),
    train=st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
    lr=st.floats(1e-12, 1e3),
    max_length=st.none() | st.integers(1, 10**9),
    baseline=st.booleans(),
)
def test_written_settings_read_back_the_same(tmp_path_factory: pytest.TempPathFactory, **values: Any) -> None:
    settings = ClassificationSettings(**values)
    path = tmp_path_factory.mktemp("settings") / "settings.toml"
    write_settings(path, settings, "classification")
    assert tomllib.loads(path.read_text(encoding="utf-8"))["task"] == "classification"
    assert ClassificationSettings(**read_settings(path, ClassificationSettings, "classification")) == settings


def test_a_length_that_local_weights_have_no_positions_for_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    """The small models have 256, RoBERTa's tables two more rows for padding."""
    for arch in ("bert", "albert", "roberta"):
        assert parsed("--arch", arch, "--max-length", "256").settings.max_length == 256
        with pytest.raises(InputError, match="--max-length 257: this model has positions for 256 tokens"):
            parsed("--arch", arch, "--max-length", "257")
    write_checkpoint(tmp_path, {}, tiny_config("roberta").to_dict())
    with pytest.raises(InputError, match="positions for 20 tokens"):
        parsed("--weights", str(tmp_path), "--max-length", "21")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")  # said in full where the checkpoint is opened
    parsed("--weights", str(tmp_path), "--max-length", "21")


def test_help_shows_what_most_people_need_in_sections(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit):
        parsed("--help")
    shown = capsys.readouterr().out
    for field in dataclasses.fields(ClassificationSettings):
        option = f"  --{field.name.replace('_', '-')}"
        assert (option in shown) == (not field.metadata["advanced"])
    sections = ["classification", "data", "model", "training", "run"]
    places = [shown.index(f"\n{section}:\n") for section in sections]
    assert places == sorted(places)
    assert len(shown[places[1] :].split("\n\n", 4)[-1].splitlines()) < 15
    assert sum(bool(line) for line in shown[places[1] :].splitlines()) <= 42
    said = " ".join(shown.split())
    assert "encoder (default: by width, from 5e-5; 0.001 without --weights)" in said
    assert "over all processes (default: 32; 6 without --weights)" in said  # its default is in the text
    assert "In a settings file only: batch_tokens, micro_batch_size, " in said


def test_every_shared_setting_has_its_section() -> None:
    names = [name for names in SECTIONS.values() for name in names]
    advanced = [field.name for field in dataclasses.fields(RecordSettings) if field.metadata["advanced"]]
    assert sorted([*names, *advanced]) == sorted(field.name for field in dataclasses.fields(RecordSettings))


def test_settings_of_the_file_are_refused_on_the_command_line(tmp_path: Path) -> None:
    for options, shown in ((["--ema", "0.999"], "ema = 0.999"), (["--layer-decay=0.9"], "layer_decay = 0.9")):
        with pytest.raises(InputError) as error:
            parsed(*options)
        option = options[0].partition("=")[0]
        assert str(error.value) == f"{option}: set it in a settings file, {shown}, and pass --config FILE."
        assert parsed("--config", toml(tmp_path, shown)).settings
    with pytest.raises(InputError, match=r"^--fgm: set it in a settings file, fgm = \.\.\., and"):
        parsed("--fgm")


def test_a_run_shows_the_settings_that_differ_from_the_defaults() -> None:
    assert settings_line(ClassificationSettings()) == "all settings at their defaults"
    assert settings_line(ClassificationSettings(batch_size=32)) == "all settings at their defaults"
    changed = ClassificationSettings(lr=1e-3, batch_tokens=512, clean=("a -> b",), baseline=False)
    assert settings_line(changed) == ("batch_tokens = 512, lr = 0.001, clean = ('a -> b',), baseline = False")
