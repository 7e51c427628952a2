"""The English material of the paragraph sample; ``tools.make_task_samples`` explains the notation."""

from tools.sample_text import pools

# Divided between the splits, so that no person or town is in two of them.
NAMES = pools(
    last="""Abernold | Brackley | Corvane | Dunmarsh | Ellerby | Fenwright | Garrow | Hollister | Ibbotson | Jessamy |
        Kellaway | Lorimer | Marchbank | Netherby | Orrell | Pellingham | Quillon | Rushby | Sandiford | Tarrant |
        Umberly | Vexley | Wainford | Yarrowby | Ashcombe | Birtwell | Cressmore | Daventer | Eastlake | Fallowell |
        Greystoke | Haverill | Inskip | Jarvell | Kestrow | Lathbury | Merrowby | Nankivel | Osterley | Plumstow""",
    town="""Alderwick | Brannock Bay | Castlemoor | Dunholt | Eastray | Farlow | Glenharrow | Hathersley | Ironbeck |
        Kingsmere | Larkstone | Millhaven | Norbridge | Oakenshaw | Pinford | Quarrydale | Ravensby | Saltmarsh |
        Thornbury Cross | Underhill | Vennport | Westerley | Yewbank | Ambleford | Brookhampton | Coldwater | Dovecote |
        Elmsworth | Foxcombe | Grantley""",
    stem="""Albion | Beacon | Cardinal | Drummer | Emerald | Falcon | Granite | Harbour | Ivy | Juniper | Kestrel |
        Lantern | Meridian | Northwind | Orchard | Pilgrim | Quayside | Rowan | Sparrow | Tidewater | Union | Vesper |
        Willow | Anchor | Bluebell | Compass | Dolphin | Ember | Foxglove | Gannet | Heron | Inkwell | Jubilee |
        Linden | Magpie | Nettle | Osprey | Primrose | Raven | Saffron | Thistle | Velvet""",
)

WORDS = pools(
    person="{first} {last}",
    first="""Agnes | Bernard | Clara | Desmond | Edith | Felix | Greta | Hugo | Ines | Jonas | Katrin | Leopold |
        Mabel | Nestor | Olive | Percy | Rosalind | Stefan | Tilda | Viktor""",
    building="brewery | flour mill | tram depot | chapel | printing house | boathouse | bakery",
    season="the spring | the summer | the autumn | the winter",
    date="""2 January | 17 February | 9 March | 28 April | 5 May | 21 June | 14 July | 30 August | 11 September |
        26 October | 8 November | 19 December""",
    n=" | ".join(str(n) for n in range(12, 99)),
    big=" | ".join(f"{n},{rest}00" for n in range(2, 60, 5) for rest in range(1, 9, 3)),
    year=" | ".join(str(year) for year in range(1861, 2022)),
)

KINDS = """
    = {stem} Bicycles | {stem} Instruments | {stem} Lamps | {stem} Clockworks
    - {name} was founded in {year} by {person} in a disused {building} in {town}.
    - In {year}, {person} started {name} in a disused {building} in {town}.
    ? person: Who founded {name}? | Who was the founder of {name}?
    ? year: When was {name} founded? | In which year was {name} started?
    ? town: Where was {name} founded? | In which town was {name} started?
    - Its first workshop had {n} employees, most of them from the same street.
    - At first {n} people worked there, most of them from the same street.
    ? n: How many people worked for {name} at first? | How many employees did {name} have in the beginning?
    - {person2} took over the management in {year2} and moved production to {town2}.
    - Production moved to {town2} in {year2}, when {person2} took over the management.
    ? person2: Who took over the management of {name}? | Who moved the production of {name} elsewhere?
    ? town2: Where did the production of {name} move? | Where were the goods of {name} made after the move?
    - After a fire in {year3}, the whole plant had to be rebuilt.
    ? year3: When did the plant of {name} burn? | In which year was there a fire at {name}?
    - Today the firm sells about {big} pieces a year in {n2} countries.
    ? big: How many pieces does {name} sell a year? | How many pieces leave {name} each year?
    ? n2: In how many countries does {name} sell its goods? | How many countries does {name} sell to?
    - The designer {person3} won a national prize for a folding model.
    ? person3: Who designed the prize-winning model of {name}? | Which designer of {name} won a prize?
    - A museum of the company's history opened on {date} in {town3}.
    ? date: On which day did the museum of {name} open? | When was the museum of {name} opened?
    ? town3: Where is the museum of {name}? | Which town has a museum about {name}?

    = the {stem} Museum | the {stem} Gallery | the {stem} Collection
    - {name} in {town} opened on {date} with {n} paintings that {person} had left to the town.
    - {person} left {n} paintings to the town of {town}, which opened {name} on {date}.
    ? town: Where is {name}? | In which town did {name} open?
    ? n: How many paintings did {name} open with? | How many paintings did {name} have at first?
    ? person: Who left the first paintings to {name}? | Whose paintings were the beginning of {name}?
    - The building was drawn by {person2}, an architect from {town2}.
    ? person2: Who was the architect of {name}? | Who drew the building of {name}?
    ? town2: Where did the architect of {name} come from? | Which town was home to the architect of {name}?
    - A second wing was added in {year}, paid for by a lottery.
    ? year: When did {name} get a second wing? | In which year was {name} enlarged?
    - In {year2} a thief took a small landscape from the stairs; it has never been found.
    ? year2: When was a picture stolen from {name}? | In which year did a thief come to {name}?
    - The present director, {person3}, reads to children there on Sundays.
    ? person3: Who is the director of {name}? | Who reads to children at {name}?
    - About {big} people visit the house every year.
    ? big: How many people visit {name} in a year? | How many visitors does {name} have every year?
    - The oldest piece is a map of {town3}, drawn by hand.
    ? town3: Which town does the oldest map in {name} show? | What town is on the map in {name}?

    = the {stem} Bridge | the {last} Bridge | the {stem} Viaduct
    - {name} has joined the two halves of {town} since {year}.
    - Since {year}, people in {town} have crossed the river on {name}.
    ? town: In which town is {name}? | Where does {name} stand?
    ? year: Since when has {name} been in use? | When was {name} opened to the public?
    - The engineer {person} planned it, and {n} masons worked on the piers.
    ? person: Who planned {name}? | Which engineer designed {name}?
    ? n: How many masons worked on {name}? | How many masons built the piers of {name}?
    - Its stones were brought by barge from a quarry near {town2}.
    ? town2: Where do the stones of {name} come from? | Near which town was the quarry for {name}?
    - A flood swept away the middle arch on {date}, and a ferry was used for months.
    ? date: When did a flood damage {name}? | On which day did {name} lose its middle arch?
    - Trams ran across it until {year2}.
    ? year2: Until when did trams run across {name}? | When did the last tram cross {name}?
    - Nowadays {big} cars pass every day.
    ? big: How many cars use {name} every day? | How many cars pass over {name} in a day?
    - The mayor, {person2}, wants to close it to traffic.
    ? person2: Who wants to close {name} to traffic? | Which mayor wants no traffic on {name}?

    = the {stem} Festival | the {stem} Fair | the {stem} Week
    - {name} has been held in {town} since {year}, always in {season}.
    - {town} has celebrated {name} since {year}, always in {season}.
    ? town: Where is {name} held? | Which town celebrates {name}?
    ? year: Since when has {name} been held? | In which year did {name} begin?
    ? season: In which season is {name} held? | What time of year is {name}?
    - The idea came from the schoolteacher {person}, who wanted to hear music outdoors.
    ? person: Whose idea was {name}? | Which schoolteacher thought of {name}?
    - The first time, {n} guests sat on hay bales.
    ? n: How many guests came when {name} was held first? | How many people attended {name} the first time?
    - Last year {big} tickets were sold, more than ever before.
    ? big: How many tickets did {name} sell last year? | How many tickets for {name} were sold last year?
    - It was cancelled only once, in {year2}, because of a storm.
    ? year2: When was {name} cancelled? | In which year did a storm prevent {name}?
    - The singer {person2} from {town2} opens it every time.
    ? person2: Which singer opens {name}? | Who sings at the opening of {name}?
    ? town2: Where does the singer at {name} come from? | Which town is the singer of {name} from?
    - It closes with a boat race of {n2} crews.
    ? n2: How many crews race at the end of {name}? | How many crews take part in the boat race of {name}?

    = the {stem} Expedition | the {last} Expedition | the {stem} Survey
    - {name} left {town} on {date} under the command of {person}.
    - Under the command of {person}, {name} set out from {town} on {date}.
    ? town: From where did {name} set out? | Which town did {name} leave from?
    ? date: On which day did {name} set out? | When did {name} leave?
    ? person: Who commanded {name}? | Who was the leader of {name}?
    - There were {n} men and women on board, and {n2} dogs.
    ? n: How many men and women took part in {name}? | How many people sailed with {name}?
    ? n2: How many dogs did {name} take along? | How many dogs travelled with {name}?
    - The ship's doctor, {person2}, kept a diary that was printed in {year}.
    ? person2: Who was the doctor of {name}? | Who kept a diary on {name}?
    ? year: When was the diary of {name} printed? | In which year did the diary from {name} come out?
    - For {n3} days they were held fast by ice.
    ? n3: For how many days was {name} held by ice? | How many days did the ice hold {name}?
    - They brought home {big} dried plants, now kept in {town2}.
    ? big: How many plants did {name} bring home? | How many plants were collected on {name}?
    ? town2: Where are the plants of {name} kept? | Which town keeps the plants from {name}?
    - The photographer {person3} stayed behind and was fetched a year later.
    ? person3: Which photographer of {name} stayed behind? | Who had to be fetched a year after {name}?

    = {town} Rovers | {town} Wanderers | {town} Athletic
    - The football club {name} was started in {year} by {person}, a baker.
    - The baker {person} started the football club {name} in {year}.
    ? year: When was {name} started? | In which year was {name} founded?
    ? person: Who started {name}? | Which baker founded {name}?
    - It won its only cup in {year2}, when {person2} scored twice in the final.
    ? year2: When did {name} win the cup? | In which year did {name} win its only cup?
    ? person2: Who scored for {name} in the final? | Which player of {name} scored twice?
    - The ground has seats for {big} people.
    ? big: How many people can sit in the ground of {name}? | How many seats does the ground of {name} have?
    - The team was coached for {n} months by {person3}.
    ? n: For how many months did the coach of {name} stay? | How many months did the coach of {name} work there?
    ? person3: Who coached {name}? | Who was the coach of {name}?
    - The bus that carried the players to away games came from {town2}.
    ? town2: Where did the bus of {name} come from? | Which town did the team bus of {name} come from?
    - The women's team played its first match on {date}.
    ? date: When did the women of {name} play their first match? | On which day did women first play for {name}?

    = the {stem} Line | the {stem} Railway | the {last} Tramway
    - {name} runs from {town} to {town2} and was opened on {date}.
    - Opened on {date}, {name} runs from {town} to {town2}.
    ? town: Where does {name} begin? | From which town does {name} run?
    ? town2: Where does {name} end? | To which town does {name} run?
    ? date: On which day was {name} opened? | When did {name} open?
    - The money came from {person}, who owned a slate quarry.
    ? person: Who paid for {name}? | Whose money was behind {name}?
    - It passes {n} bridges and has {n2} stations.
    ? n: How many bridges does {name} pass? | How many bridges are there on {name}?
    ? n2: How many stations does {name} have? | How many stations are there on {name}?
    - Steam engines were given up in {year}.
    ? year: When did {name} give up steam engines? | Until which year did {name} use steam?
    - The first electric train, in {year2}, was driven by {person2}.
    ? person2: Who drove the first electric train on {name}? | Which driver took an electric train along {name} first?
    ? year2: When did {name} get electric trains? | In which year was the first electric train on {name}?
    - Some {big} passengers use it in a week.
    ? big: How many passengers use {name} in a week? | How many people travel on {name} every week?

    = the {stem} Observatory | the {last} Observatory | the {stem} Weather Station
    - {name} stands on a hill above {town} and was built by {person} in {year}.
    - {person} built {name} on a hill above {town} in {year}.
    ? town: Above which town does {name} stand? | Where is {name}?
    ? person: Who built {name}? | Whose work is {name}?
    ? year: When was {name} built? | In which year did the building of {name} take place?
    - The road to the top has {n} bends.
    ? n: How many bends does the road to {name} have? | How many bends are there on the way to {name}?
    - On {date} the lens was struck by lightning and had to be replaced.
    ? date: When did lightning strike {name}? | On which day was the lens of {name} struck?
    - A new instrument was bought in {year2} from a workshop in {town2}.
    ? year2: When did {name} buy a new instrument? | In which year did {name} get a new instrument?
    ? town2: Where was the new instrument of {name} made? | Which town did the new instrument of {name} come from?
    - The assistant {person2} found {n2} comets there.
    ? person2: Who found comets at {name}? | Which assistant at {name} found comets?
    ? n2: How many comets were found at {name}? | How many comets did the assistant at {name} find?
    - On open nights up to {big} visitors queue for a look.
    ? big: How many visitors come to {name} on open nights? | How many visitors queue at {name}?
"""
