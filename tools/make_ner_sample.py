"""Write the bundled Chinese named-entity sample: three BIO-tagged files made from templates and name lists.

    python tools/make_ner_sample.py [--seed 2026] [--out tasks/samples/ner]

Every sentence starts as a template such as ``{PER}昨天在{LOC}会见了{ORG}的代表{PER}。``:

* ``{UPPER}`` is an entity slot: one of its FORMS is filled in, and its characters get the slot's type;
* ``{lower}`` is an ordinary word (a date, a number, a dish), tagged O;
* ``[长江|LOC]`` is an entity spelled out, for sentences that play on one particular word.

The name lists are divided between train, dev and test before anything is written, and a fifth of the templates
is kept away from train, so a model that only remembers names does badly on dev and test. The same seed gives
the same bytes. People and events are invented; place names are real, so an organisation named after a place may
share its name with a real one.
"""

import argparse
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SIZES = {"train": 1200, "dev": 300, "test": 300}
LONG = {"train": 3, "dev": 1, "test": 1}  # of those, how many are chains of clauses over 150 characters
NAME_SHARES = {"train": 0.6, "dev": 0.2, "test": 0.2}
TRADITIONAL_SHARE = 0.25
PLAIN_SHARE = 0.15  # sentences without any entity
PARTS = (1,) * 16 + (2, 2, 2, 3)  # how many templates a sentence is made of
LONG_PARTS = 8
FRESH_SHARE = 0.4  # dev and test sentences from templates that train never uses
FRESH_EVERY = 5  # one template in so many is kept for dev and test
SHORTEST, LONGEST, LONG_OVER = 6, 90, 150
REDRAWS = 20  # some lists are short, so a repeated entity is let through in the end

# The entity type of each slot. A slot's possible spellings are in the FORMS of each script below.
TYPES = {
    slot: entity_type
    for entity_type, slots in {
        "PER": "PER",
        "LOC": "LOC CITY COUNTY ABROAD ROAD VILLAGE RIVER MOUNT",
        "ORG": "ORG SCHOOL FIRM SHORT BANK COURT LAW POLICE HOSPITAL CLUB PRESS INST",
    }.items()
    for slot in slots.split()
}

Pools = dict[str, list[str]]
Tagged = list[tuple[str, str]]
PIECE = re.compile(r"\{(?P<slot>\w+)\}|\[(?P<literal>[^|\]]+)\|(?P<type>\w+)\]|(?P<char>.)")


@dataclass(frozen=True)
class Script:
    """All the material for one way of writing Chinese."""

    names: Pools  # divided between the splits
    words: Pools  # shared by the splits
    forms: Pools
    templates: Pools  # by genre; those of the genre "plain" hold no entity


def lists(**texts: str) -> Pools:
    """Split each text at white space. Neither names nor templates contain any."""
    return {key: text.split() for key, text in texts.items()}


# ------------------------------------------------------------------------------------- Simplified Chinese

COMMON = {
    "n": [str(n) for n in range(2, 99)],
    "digit": [str(n) for n in range(1, 8)],
    "month": [str(n) for n in range(2, 13)],
    "day": [str(n) for n in range(1, 29)],
    "year": [str(n) for n in range(1911, 2024)],
    "abbr": ["PDF", "PPT", "CAD", "Excel", "Word", "DNA", "KPI"],
    "weekday": list("一二三四五六日"),
}

NAMES_SIMPLIFIED = lists(
    city="""北京 上海 广州 深圳 成都 武汉 南京 杭州 西安 昆明 贵阳 兰州 银川 西宁 拉萨 合肥 郑州 太原 石家庄
        三亚 绍兴 温州 台州 衢州 湖州 嘉兴 金华 徐州 扬州 泰州 盐城 宿迁 芜湖 蚌埠 滁州 安庆 九江 赣州 上饶
        宜春 莆田 泉州 漳州 龙岩 烟台 潍坊 济宁 临沂 德州 菏泽 洛阳 开封 南阳 信阳 襄阳 宜昌 荆州 黄冈 岳阳
        常德 衡阳 株洲 韶关 湛江 茂名 惠州 柳州 桂林 北海 梧州 绵阳 宜宾 泸州 南充 遵义 曲靖 玉溪 大理 宝鸡
        咸阳 榆林 天水 酒泉 张掖 大同 临汾 包头 赤峰 鞍山 丹东 锦州 四平 大庆 齐齐哈尔""",
    county="""安吉 德清 桐庐 淳安 象山 仙居 天台 遂昌 涟水 睢宁 泗洪 霍山 金寨 怀远 婺源 修水 连城 尤溪 惠安
        平阴 郯城 沂源 兰考 鄢陵 民权 秭归 红安 蕲春 安化 桃源 凤凰 平江 阳朔 蒲城 洛川 民勤 古浪 康乐 和政
        右玉 沁源 阳城 平遥 张北 安平 永宁 平罗 镇安 公安 和平 富裕 友谊 开化 平利 汉阴 新兴""",
    abroad="""巴黎 伦敦 柏林 罗马 马德里 里斯本 维也纳 布拉格 华沙 赫尔辛基 斯德哥尔摩 开罗 内罗毕 曼谷 河内
        吉隆坡 雅加达 首尔 悉尼 墨尔本 芝加哥 波士顿 西雅图 多伦多 利马 圣地亚哥 法国 德国 意大利 西班牙 巴西
        阿根廷 肯尼亚 泰国 越南 埃及""",
    river="""长江 黄河 淮河 珠江 湘江 赣江 汉江 嘉陵江 松花江 钱塘江 岷江 沱江 渭河 汾河 洛河 乌江 沅江 清江
        东江 北江 闽江 富春江 太湖 洞庭湖 鄱阳湖 巢湖 洪泽湖 微山湖 青海湖 滇池 洱海 千岛湖""",
    mount="""泰山 华山 衡山 嵩山 恒山 黄山 庐山 峨眉山 武夷山 井冈山 大别山 天山 祁连山 长白山 九华山 武当山
        普陀山 雁荡山 太行山 秦岭 六盘山 贺兰山 梵净山 雪峰山""",
    stem="""云杉 恒远 星海 金穗 瑞禾 蓝湾 鼎新 启明 长风 天衡 博望 海川 向阳 白云 安宁 高峰 东升 朝阳 红星
        前进 和平 光明 胜利 团结 青禾 远帆 锦程 华澜 明德 崇文 弘毅 思源 致远 凌波 望江 临泽 百川 九鼎 金桥
        银河 北斗 天鹰 雪豹 飞虎 猛狮 蓝鲸 赤焰 疾风 铁流 星火 春晖 晨曦 晚晴 秋实 麦田 稻香 竹海 松涛 梅岭
        兰亭 桃李 杏林 柳岸 清泉 甘露 玉泉 古井 石桥 木棉 紫荆 丁香 玉兰 海棠 芙蓉 凤鸣 龙腾 鹤翔 雁南 骏驰
        千里 万象 百汇 双龙 三峰 四海 五岳 七星 八达 十里""",
    acronym="KLT QRD ZXN HVM BTK DNR XJQ FKM LZP GTV MHR CQE YBN PDX",
    given="""志远 建国 晓峰 文静 雅琴 思齐 子涵 浩然 宇轩 梦瑶 欣怡 佳慧 国栋 振华 永强 卫东 红梅 秀英 桂兰
        淑芬 玉珍 春生 秋生 长河 海涛 江涛 小川 云飞 云帆 月明 明月 天佑 天成 少华 少杰 一凡 亦舒 若兰
        若谷 怀瑾 怀远 承志 承泽 守信 守义 立新 立群 德胜 德厚 学文 学斌 丽萍 爱民 爱华 新民 敬之
        敬业 青山 青松 柏林 东海 南飞 北辰 中原 光远 光宇 耀祖 耀东 铁军 铁柱 大勇 大伟 雪梅 冬梅 夏雨
        秋雨 春雷 雷鸣 震宇 鹏程 鹏飞 凤英 龙飞 虎生 玉山 石坚 金泉 银花 宝山 宝玉 福生 寿昌 喜来 乐天 安然
        平凡 瑞雪 丰年 朴 岩 敏 静 勇 娟 艳 刚 梅 芸 晶 霞 鑫 宏 彬 燕 晖 蕾 蓉 峻""",
    tricky="""高峰 白云 安宁 黄河 高原 温泉 江山 马力 方向 田野 严冬 向阳 时光 万里 石英 金星 关键 常青 康庄
        成功 程度 江苏华 江宁远 高雄伟 黄山松 宁波涛 吉林森 金华荣 安康平 常德明 安庆年 宁海峰 唐山海 石林峰
        黄石磊 温岭南 余杭生 安阳春 武汉生""",
    last="""威尔逊 米勒 罗西 冈萨雷斯 彼得森 科瓦奇 安德森 莫雷诺 费舍尔 西蒙诺娃 穆勒 杜邦 诺瓦克 林德伯格
        哈里斯 贝尔 伊万诺夫 佐藤 金斯利 奥康纳""",
)

WORDS_SIMPLIFIED = COMMON | lists(
    surname="""王 李 张 刘 陈 杨 赵 黄 周 吴 徐 孙 胡 朱 高 林 何 郭 马 罗 梁 宋 郑 谢 韩 唐 冯 于 董 程 曹 袁
        邓 许 傅 沈 曾 彭 吕 苏 卢 蒋 蔡 贾 丁 魏 薛 叶 余 潘 杜 戴 夏 钟 汪 田 任 姜 范 方 石 姚 谭 廖 邹 熊
        金 陆 郝 孔 白 崔 康 毛 邱 秦 江 史 顾 侯 邵 孟 龙 万 段 雷 钱 汤 尹 黎 易 常 武 乔 贺 赖 龚 文 欧阳
        司马 上官 诸葛 慕容""",
    first="马克 安娜 保罗 玛丽 约翰 卡尔 索菲亚 伊万 卢卡斯 海伦 托马斯 埃琳娜",
    ordinal="一 二 三 四 五 六 七 八",
    job="主任 教授 副院长 总经理 发言人 书记 秘书长 工程师 研究员 顾问",
    expert="水利学家 画家 植物学家 翻译家 桥梁专家 作曲家 京剧演员",
    food="米粉 豆腐 橘子 腊肉 杨梅 萝卜 莲藕 鸡蛋 板栗 茶叶 豆角 红薯 桃子 粽子 香菇 咸鱼",
    book="山河笔记 白云深处 长江夜话 北京来信 河工纪略 高原气象 江南小史 雨中书简",
    date="{month}月{day}日 {month}月{day}日 {month}月初 周{weekday} 本周{weekday} 月底 今天下午",
)

FORMS_SIMPLIFIED = lists(
    PER="{surname}{given} " * 7 + "{tricky} {first}·{last}",
    LOC="{city} {city} {city} {city}市 {county}县 {abroad}",
    CITY="{city} {city}市",
    COUNTY="{county}县",
    ABROAD="{abroad}",
    ROAD="{stem}路 {stem}大道 {stem}街 {stem}东路",
    VILLAGE="{stem}村 {stem}镇 {stem}乡",
    RIVER="{river}",
    MOUNT="{mount}",
    ORG="{SCHOOL} {FIRM} {BANK} {COURT} {HOSPITAL} {CLUB} {PRESS} {INST} {SHORT} {county}县人民检察院",
    SCHOOL="{city}大学 {city}理工学院 {city}第{ordinal}中学 {stem}中学 {county}县实验小学",
    FIRM="{stem}集团 {stem}科技 {city}{stem}科技有限公司 {river}实业 {stem}制药股份有限公司 {acronym}物流公司",
    SHORT="{stem}",
    BANK="{city}银行 {stem}银行 {city}银行{stem}支行",
    COURT="{city}市中级人民法院 {county}县人民法院",
    LAW="{stem}律师事务所 {city}{stem}律师事务所",
    POLICE="{county}县公安局 {city}市公安局",
    HOSPITAL="{city}市第{ordinal}人民医院 {stem}医院 {county}县中医院",
    CLUB="{city}{stem}足球俱乐部 {city}{stem}队 {stem}俱乐部 {city}队 {city}{stem}",
    PRESS="{stem}出版社 {city}日报社 {stem}书局",
    INST="{city}地质研究所 {stem}研究院 {city}市文物局 {county}县水利局",
)

TEMPLATES_SIMPLIFIED = lists(
    news="""
        {PER}昨天在{LOC}会见了{ORG}的代表{PER}。
        {date}，{ORG}与{ORG}在{LOC}签署合作协议。
        据{PRESS}消息，{LOC}今年前{month}个月GDP同比增长{digit}.{digit}%。
        {LOC}、{LOC}和{LOC}三地将联合举办首届青年创业节。
        受台风影响，{LOC}至{LOC}的{n}趟列车停运。
        {PER}、{PER}与{PER}三人获得本年度科技进步奖。
        {ORG}{job}{PER}表示，新园区预计{date}投入使用。
        记者从{INST}获悉，{RIVER}{CITY}段水质已连续{n}天达标。
        {CITY}{ROAD}昨夜发生一起追尾事故，{n}人受轻伤，已送往{HOSPITAL}。
        “我们不会退出。”{FIRM}创始人{PER}在电话里说。
        {FIRM}{date}宣布，将在{COUNTY}{VILLAGE}投资{n}亿元建厂。
        {PER}率团抵达{ABROAD}，随后前往{ABROAD}访问。
        {BANK}、{BANK}、{FIRM}和{FIRM}联合发布了这份报告。
        首班由{CITY}飞往{ABROAD}的货运航班{date}起飞。
        {ROAD}改造工程由{FIRM}承建，{PER}任项目经理。
        新任{job}{PER}到{VILLAGE}调研春耕。
        {INST}提醒：{MOUNT}景区近期有落石，请游客绕行。
        {CITY}人{PER}捡到{n}万元现金，转身交给了{POLICE}。
        {SCHOOL}和{HOSPITAL}的{n}名志愿者赶到{VILLAGE}义诊。
        """,
    sport="""
        {CLUB}{digit}比0战胜{CLUB}，{PER}梅开二度。
        第{n}分钟，{PER}接{PER}传球破门。
        {CLUB}官方宣布，{PER}因膝伤缺阵{n}天。
        {CLUB}客场挑战{CLUB}，比赛在{CITY}打响。
        中场休息后，{CLUB}换上{PER}，{CLUB}换上{PER}。
        主教练{PER}：输给{CLUB}，责任在我。
        {PER}以2小时4{digit}分夺得{CITY}马拉松女子组冠军。
        从{CLUB}转会到{CLUB}，{PER}只用了{n}天。
        {SCHOOL}的学生{PER}在{LOC}站比赛中打破纪录。
        {CLUB}、{CLUB}、{CLUB}携手晋级八强。
        {SHORT}今晚坐镇主场，{PER}首发。
        替补席上的{PER}才1{digit}岁，{CLUB}球迷却已把他当成宝。
        """,
    law="""
        {COURT}{date}公开审理了{PER}诉{FIRM}劳动争议一案。
        原告{PER}，男，{LOC}人，住{CITY}{ROAD}{n}号。
        被告{FIRM}应于判决生效后{n}日内向{PER}支付货款{n}万元。
        经{COURT}主持调解，{PER}与{PER}达成协议。
        上诉人{BANK}不服{COURT}（2023）民初{n}号判决，提起上诉。
        证人{PER}称，案发当晚他在{VILLAGE}喝喜酒，并未去过{LOC}。
        {COURT}书记员{PER}宣读了法庭纪律。
        {FIRM}与{FIRM}、{PER}买卖合同纠纷，现已审理终结。
        {POLICE}民警{PER}在{ROAD}将嫌疑人抓获。
        委托代理人{PER}，{LAW}律师。
        {LAW}和{LAW}都派人去了{COURT}。
        """,
    diary="""
        今天和{PER}去了{LOC}，路上下起了小雨。
        {date}，晴。{PER}从{LOC}寄来一箱{food}。
        在{RIVER}边坐了一下午，想起{PER}说过的话。
        外婆家在{VILLAGE}，离{COUNTY}还有{n}里路。
        收到{SCHOOL}的录取通知书那天，{PER}哭了。
        我和{PER}约好，毕业以后一起爬{MOUNT}。
        梦见自己还在{LOC}，醒来才想起已经搬到{LOC}{n}年了。
        爸爸在{HOSPITAL}住了{n}天，{PER}医生很耐心。
        火车过了{LOC}，{PER}才醒，问我到{LOC}没有。
        {PER}送我的那支钢笔，落在{CITY}的旅馆里了。
        走到{ROAD}拐角，听见有人喊{PER}，回头却谁也不认识。
        """,
    encyclopaedia="""
        {PER}（1932年—2008年），{LOC}人，著名{expert}。
        {SCHOOL}位于{CITY}，创办于{year}年。
        {RIVER}发源于{MOUNT}，流经{LOC}、{LOC}等地。
        {VILLAGE}隶属于{COUNTY}，现有居民{n}户。
        {PRESS}{year}年出版了{PER}的《{book}》。
        {FIRM}，总部设在{LOC}，创始人为{PER}。
        {MOUNT}在{CITY}西南约{n}公里处，主峰多雾。
        {PER}早年就读于{SCHOOL}，后任{INST}研究员。
        {INST}成立于{year}年，首任负责人{PER}，现有职工{n}人。
        {CITY}东接{CITY}，西邻{CITY}，北靠{MOUNT}。
        {PER}与{PER}、{PER}、{PER}并称“{RIVER}四友”。
        {ABROAD}是{FIRM}在海外的第{n}个市场。
        """,
    finance="""
        {SHORT}股价今天涨了{digit}%，{SHORT}跌了{digit}%。
        {FIRM}以{n}亿元收购{FIRM}在{LOC}的工厂。
        {BANK}行长{PER}辞职，由{PER}接任。
        {FIRM}董事会选举{PER}为董事长，{PER}、{PER}为独立董事。
        评级机构把{BANK}的评级由AA上调至AAA。
        {SHORT}和{SHORT}的官司打到了{COURT}。
        """,
    chat="""
        {PER}你到{LOC}了吗？到了给我发微信。
        我在{SHORT}上班，离{ROAD}就两站地铁。
        哈哈，{PER}又把{abbr}发错群了！
        谁有{PER}的电话？{BANK}找他。
        @{PER}，{date}去{MOUNT}，去不去？
        听说{SHORT}要搬家，{PER}你知道吗？
        {LOC}的{food}比{LOC}的好吃，不接受反驳。
        别问了，{PER}被{SCHOOL}录取了，专业是AI。
        帮我在{ROAD}那家店带份{food}，谢啦～
        {SHORT}的App又崩了……
        快递显示已到{CITY}，明天派送到{ROAD}。
        {PER}：收到。{PER}：收到。
        求问：{LOC}到{LOC}坐高铁多久？
        我到{LOC}了。
        {PER}在吗？
        {SHORT}招人！
        """,
    wordplay="""
        [长江|LOC]水位上涨，[长江实业|ORG]的码头暂停作业{n}天。
        [黄河|PER]站在[黄河|LOC]岸边，给{SCHOOL}的学生讲泥沙。
        他叫[高峰|PER]，偏偏总在{ROAD}赶上早高峰。
        [高峰|PER]第{n}分钟替补出场，{CLUB}的球迷起立鼓掌。
        [白云区|LOC]的天上飘着几朵白云，{PER}拍了{n}张。
        [白云|PER]说她最怕坐飞机去{LOC}，哪怕窗外白云再美。
        [安宁|LOC]的{food}熟了，[安宁|PER]买了{n}斤。
        她只想求一份安宁，于是从{LOC}搬到了[安宁|LOC]。
        [向阳|PER]家的窗户向阳，{food}晒{digit}天就干了。
        [江苏华|PER]不是[江苏|LOC]人，他来自{LOC}。
        [北京大学|ORG]的{job}{PER}并不住在[北京|LOC]。
        [江山|PER]出生在[江山|LOC]，却常说{LOC}的江山更美。
        [温泉|PER]在{COUNTY}开了家温泉旅馆。
        [马力|PER]的车马力不大，爬{MOUNT}有些吃力。
        [方向|PER]开车没有方向感，把{ROAD}当成了{ROAD}。
        [时光书店|ORG]里，[时光|PER]和{PER}一坐就是一下午。
        [武汉生|PER]是[武汉|LOC]人，{PER}也是。
        [公安县|LOC]公安机关{date}查获假酒{n}箱。
        [和平县|LOC]办了一场呼吁和平的诗会，{PER}到场朗诵。
        [友谊县|LOC]与{COUNTY}结下了深厚友谊。
        [胜利队|ORG]又一次取得胜利，{ROAD}上挤满了球迷。
        [光明集团|ORG]前途光明，{PER}却卖光了股票。
        [团结村|LOC]的村民很团结，{PER}带头修了路。
        [田野|PER]背着画板，走进{VILLAGE}的田野。
        [高原|PER]第一次上高原，刚到{LOC}就头疼。
        [金星|PER]在{SCHOOL}用望远镜给孩子们看金星。
        [关键|PER]这一球很关键，帮{CLUB}守住了平局。
        [泰山队|ORG]全队登上[泰山|LOC]，{PER}走在最前面。
        用[黄山松|PER]的话说，[黄山|LOC]的松树比{MOUNT}的还倔。
        [宁波涛|PER]去[宁波|LOC]出差，听了{n}夜波涛。
        """,
    plain="""
        今天早高峰提前了{n}分钟，地铁里挤得转不过身。
        用电高峰将在{date}到来，请错峰用电。
        {date}天气晴好，白云朵朵，适合晒被子。
        他只想过{n}天安宁的日子。
        {date}晚上，学校排演了《黄河大合唱》。
        她把《长江之歌》唱了{n}遍。
        高原反应一般持续{digit}天左右，多吃点{food}。
        温泉水温约{n}度，泡久了会头晕。
        这台发动机有{n}匹马力，油耗却不高。
        方向错了，走{n}步也没用。
        {date}有雨，气温下降{digit}度，出门带伞。
        {food}两斤，{food}三斤，一共{n}元。
        把{food}洗净切块，加盐腌{n}分钟即可。
        这个月CPI上涨{digit}%，{food}价格回落。
        我妈说{food}不能和{food}一起吃，真的假的？
        请在{date}前提交{abbr}格式的报告。
        {n}路公交车又晚点了，气死我了。
        附近有{digit}家医院、{digit}所大学和一个研究所。
        法院和检察院都在市中心，走路{n}分钟。
        出版社退了他{n}次稿，银行也不肯贷款。
        俱乐部会员{date}起可免费停车。
        大江大河的治理，少说也要{n}年。
        翻过山东边的小路，再走{n}分钟就到。
        河南岸的路灯{date}修好了。
        湖南边住着{n}户渔民，家家晒{food}。
        江西岸的码头已经停用{n}年。
        小王国里住着{n}只猫，每只都爱吃{food}。
        于是大家和平分手，各走各的路，{n}年没再见。
        友谊第一，比赛第二，输了{digit}个球也无妨。
        胜利在望，还剩最后{n}米。
        光明在前，别怕走{n}里夜路。
        常用药放在第{digit}层抽屉里，别忘了。
        马上到，还有{n}分钟。
        白纸黑字写着{n}元，别想抵赖。
        {food}真香啊！
        {n}号楼停电了。
        田野里种满了{food}，再过{n}天就能收。
        这学期《{book}》要读完，{date}考试。
        """,
)

# ------------------------------------------------------------------------------------ Traditional Chinese

NAMES_TRADITIONAL = lists(
    city="""臺北 臺中 臺南 高雄 基隆 新竹 嘉義 桃園 廈門 蘇州 無錫 寧波 長沙 濟南 瀋陽 哈爾濱 重慶 佛山 東莞
        珠海 汕頭""",
    county="宜蘭 花蓮 苗栗 彰化 南投 雲林 屏東 澎湖 金門 連江 臺東",
    district="""旺角 元朗 沙田 荃灣 屯門 西貢 大埔 深水埗 觀塘 銅鑼灣 尖沙咀 灣仔 中環 上環 柴灣 葵涌 將軍澳
        赤柱 粉嶺 上水 淡水 板橋 三重 新店 鹿港 北投 士林 美濃 恆春""",
    abroad="紐約 東京 京都 大阪 雪梨 溫哥華 舊金山 洛杉磯 新加坡 檳城 馬來西亞 日本 加拿大 紐西蘭 義大利",
    river="淡水河 濁水溪 高屏溪 大甲溪 日月潭 曾文溪 城門河 林村河 維多利亞港 愛河 基隆河 新店溪",
    mount="玉山 阿里山 合歡山 陽明山 太平山 獅子山 大帽山 鳳凰山 雪山 大霸尖山 八仙嶺 飛鵝山",
    stem="""鴻昇 瑞麟 恆昌 德馨 寶華 藍鷹 雲嶺 星輝 海韻 晴川 晨光 翠微 碧潭 錦繡 龍騰 鳳儀 鶴鳴 麗景 榮泰
        聯興 廣源 萬順 義隆 禮賢 崇德 樂群 愛蓮 麥穗 綠洲 飛鷹 猛虎 雷霆 旋風 火鳳 銀翼 金獅 白鷺 青鳥 紅葉
        和興 白雲 藍天 向陽 勝利 光復 平安""",
    given="""志明 春嬌 紹棠 雅婷 怡君 淑惠 建宏 宗翰 冠宇 詠詩 詠晴 梓晴 穎兒 子軒 浩賢 健朗 健華 慧嫻 綺雯
        美鳳 麗珍 錦輝 耀輝 啟賢 振邦 文彬 詩韻 子謙 樂兒 思穎 曉彤 寶儀 靜宜 婉玲 宏達 明哲 柏翰 彥廷 雨蓁
        品妍 宥翔 哲瑋 欣妤 曼玲 碧華 傳雄 慶餘 聖傑 義雄 榮發 添財 水木 金土 月娥 秋菊""",
    tricky="白雲 藍天 黃昏 葉子 方舟 雷電 高雄偉 金門生 花蓮生 雲林森 連江濤 林蔭 馬達 平安 石階",
    last="史密斯 強森 布朗 戴維斯 克拉克 羅伯茲 泰勒 馬丁尼茲 湯普森 懷特",
)

WORDS_TRADITIONAL = COMMON | lists(
    surname="""陳 林 黃 張 李 王 吳 劉 蔡 楊 許 鄭 謝 洪 郭 邱 曾 廖 賴 徐 周 葉 蘇 莊 呂 江 何 蕭 羅 高 潘 簡
        朱 鍾 游 彭 詹 胡 施 沈 余 盧 梁 趙 顏 柯 翁 魏 孫 戴 范 方 宋 鄧 杜 傅 侯 曹 薛 丁 卓 馬 董 溫 唐 藍
        馮 石 歐陽 司徒""",
    first="大衛 瑪麗 彼得 露西 尼克 凱文",
    job="主任 教授 局長 總經理 發言人 祕書 工程師 顧問",
    food="鳳梨 蘿蔔糕 雲吞麵 魚丸 豆漿 滷味 蛋撻 芋圓 牛肉麵 腸粉",
    book="雨夜書 臺北來信 海港小史 白雲山居 火車筆記",
    date="{month}月{day}日 {month}月{day}日 {month}月初 週{weekday} 本週{weekday} 月底 今日下午",
)

FORMS_TRADITIONAL = lists(
    PER="{surname}{given} " * 7 + "{tricky} {first}·{last}",
    LOC="{city} {city}市 {county}縣 {district} {district} {abroad}",
    CITY="{city} {city}市",
    COUNTY="{county}縣",
    ABROAD="{abroad}",
    ROAD="{stem}路 {stem}道 {stem}街 {stem}北路",
    VILLAGE="{stem}村 {stem}鄉",
    RIVER="{river}",
    MOUNT="{mount}",
    ORG="{SCHOOL} {FIRM} {BANK} {COURT} {HOSPITAL} {CLUB} {PRESS} {SHORT}",
    SCHOOL="{city}大學 {district}中學 {stem}書院 {county}縣立高中",
    FIRM="{stem}集團 {stem}電子 {district}{stem}建設公司 {river}實業 {stem}證券",
    SHORT="{stem}",
    BANK="{city}銀行 {stem}銀行 {stem}銀行{district}分行",
    COURT="{city}地方法院 {county}縣地方法院 {city}高等法院",
    HOSPITAL="{district}醫院 {stem}醫院 {city}大學附設醫院",
    CLUB="{city}{stem}隊 {stem}足球會 {district}體育會 {city}隊",
    PRESS="{stem}出版社 {stem}書局 {city}日報社",
)

TEMPLATES_TRADITIONAL = lists(
    news="""
        {PER}昨日在{LOC}與{ORG}{job}{PER}會面。
        {ORG}宣布，{date}起在{LOC}增設{n}個服務站。
        {LOC}、{LOC}及{LOC}三地氣溫驟降，最低只有{digit}度。
        {CITY}{ROAD}凌晨發生火警，{n}人送往{HOSPITAL}。
        {PER}與{PER}、{PER}一同出席{SCHOOL}校慶。
        {FIRM}擬以{n}億元收購{FIRM}，{PER}不予置評。
        {RIVER}水位上漲，{COUNTY}{VILLAGE}居民已撤離。
        {BANK}和{BANK}{date}同時調高利率。
        """,
    sport="""
        {CLUB}以{digit}比0擊敗{CLUB}，{PER}攻入致勝一球。
        {PER}轉投{CLUB}，年薪{n}萬。
        {CLUB}、{CLUB}爭奪冠軍，決賽移師{LOC}舉行。
        {SHORT}今晚輸球，教練{PER}一言不發。
        """,
    law="""
        {COURT}判決{FIRM}須賠償{PER}{n}萬元。
        被告{PER}否認曾到{ROAD}，案件押後至{date}再訊。
        {PER}向{COURT}申請禁制令，對手是{BANK}。
        """,
    encyclopaedia="""
        {SCHOOL}創立於{year}年，首任校長為{PER}。
        {PER}，生於{LOC}，著有《{book}》，由{PRESS}出版。
        {MOUNT}位於{LOC}以東{n}公里，為{RIVER}源頭。
        {VILLAGE}是{COUNTY}的一個村落，以{food}聞名。
        """,
    chat="""
        {PER}，{date}一起去{MOUNT}看日出好嗎？
        我在{SHORT}做了{n}年，{PER}是我主管。
        {PER}早安！
        {LOC}那間{food}真的很好吃，比{LOC}的強。
        剛在{ROAD}碰到{PER}，他說要去{ABROAD}讀AI。
        阿嬤在{HOSPITAL}，我{date}搭車到{LOC}看她。
        「{SHORT}又當機了！」{PER}在群組裡抱怨。
        """,
    wordplay="""
        [高雄偉|PER]不是[高雄|LOC]人，他在{LOC}長大。
        [白雲|PER]抬頭看白雲，忘了{PER}還在等她。
        [金門生|PER]從[金門|LOC]寄來{n}包{food}。
        [藍天|ORG]股價大漲，{PER}卻說藍天比股票好看。
        [勝利|ORG]贏了，{ROAD}的店家說這是大家的勝利。
        [大埔|LOC]的{PER}，和[黃大埔|PER]是同學。
        [平安|PER]傳訊息報平安：已到{LOC}。
        """,
    plain="""
        藍天白雲，最適合出門走{n}分鐘。
        祝大家一路平安，{date}見！
        勝利從來不靠運氣，要練{n}年。
        大學生都在排隊買{food}，等了{n}分鐘。
        銀行和醫院{date}都休息。
        中環線還要{n}年才通車，急也沒用。
        {food}一份{n}元，{food}一份{n}元。
        黃昏時分，海港亮起{n}盞燈。
        請將{abbr}檔案於{date}前寄出。
        樹葉子落了一地，{date}就要放寒假了。
        馬達壞了，修理費要{n}百元。
        我不吃{food}，給我{food}就好，謝謝。
        """,
)

SCRIPTS = {
    "simplified": Script(NAMES_SIMPLIFIED, WORDS_SIMPLIFIED, FORMS_SIMPLIFIED, TEMPLATES_SIMPLIFIED),
    "traditional": Script(NAMES_TRADITIONAL, WORDS_TRADITIONAL, FORMS_TRADITIONAL, TEMPLATES_TRADITIONAL),
}

# ------------------------------------------------------------------------------------------ the generator


@dataclass(frozen=True)
class Grammar:
    """What one split may use of one script. Templates are (used by train too, kept for dev and test)."""

    pools: Pools  # names of this split, shared words, and forms: slot -> what may stand there
    plain: tuple[list[str], list[str]]
    entity: tuple[list[str], list[str]]


def split_names(names: Pools, rng: random.Random) -> dict[str, Pools]:
    """Divide every name list between the splits; no name is in two of them."""
    parts: dict[str, Pools] = {split: {} for split in NAME_SHARES}
    for key, values in names.items():
        shuffled = rng.sample(values, len(values))
        start, share = 0, 0.0
        for split, part in NAME_SHARES.items():
            share += part
            stop = round(share * len(values))
            parts[split][key] = shuffled[start:stop]
            start = stop
    return parts


def split_templates(templates: list[str], rng: random.Random) -> tuple[list[str], list[str]]:
    """Divide one genre's templates into (common, fresh), where one in FRESH_EVERY is fresh."""
    shuffled = rng.sample(templates, len(templates))
    cut = round(len(templates) / FRESH_EVERY)
    return shuffled[cut:], shuffled[:cut]


def make_grammars(script: Script, rng: random.Random) -> dict[str, Grammar]:
    """The grammar of each split for one script."""
    genres = {genre: split_templates(templates, rng) for genre, templates in script.templates.items()}
    plain = genres.pop("plain")
    entity = (
        [template for common, _ in genres.values() for template in common],
        [template for _, fresh in genres.values() for template in fresh],
    )
    return {
        split: Grammar(script.words | script.forms | names, plain, entity)
        for split, names in split_names(script.names, rng).items()
    }


def expand(slot: str, pools: Pools, rng: random.Random) -> str:
    """A random filling of one slot, with the slots inside the filling filled in turn."""
    return re.sub(r"\{(\w+)\}", lambda inner: expand(inner[1], pools, rng), rng.choice(pools[slot]))


def render(template: str, pools: Pools, rng: random.Random) -> Tagged:
    """Fill in a template and tag each character, and try not to draw one entity twice."""
    sentence: Tagged = []
    used = {piece["literal"] for piece in PIECE.finditer(template)}
    for piece in PIECE.finditer(template):
        slot = piece["slot"]
        text = expand(slot, pools, rng) if slot else piece["literal"] or piece["char"]
        entity_type = TYPES.get(slot, piece["type"])
        if slot in TYPES:
            for _ in range(REDRAWS):
                if text.removesuffix("市") not in used:
                    break
                text = expand(slot, pools, rng)
            used.add(text.removesuffix("市"))
        if entity_type:
            sentence += zip(text, [f"B-{entity_type}"] + [f"I-{entity_type}"] * (len(text) - 1), strict=True)
        else:
            sentence += [(char, "O") for char in text]
    return sentence


def draw(split: str, grammar: Grammar, parts: int, rng: random.Random) -> Tagged:
    """One random sentence of the split, joined from as many templates as `parts` says."""
    common, fresh = grammar.plain if rng.random() < PLAIN_SHARE else grammar.entity
    chosen: list[str] = []
    while len(chosen) < parts:
        pool = fresh if split != "train" and rng.random() < FRESH_SHARE else common
        template = rng.choice(pool)
        if template not in chosen:
            chosen.append(template)
    joined = "".join(chosen[:-1])
    if rng.random() < 0.5:
        joined = joined.replace("。", "；")
    return render(joined + chosen[-1], grammar.pools, rng)


def make_sample(seed: int) -> dict[str, list[Tagged]]:
    """The sentences of every split. No sentence occurs twice, within a split or across splits."""
    rng = random.Random(seed)
    grammars = {name: make_grammars(script, rng) for name, script in SCRIPTS.items()}
    seen: set[str] = set()
    sample: dict[str, list[Tagged]] = {}
    for split, size in SIZES.items():
        sentences: list[Tagged] = []
        while len(sentences) < size:
            name = "traditional" if rng.random() < TRADITIONAL_SHARE else "simplified"
            is_long = len(sentences) < LONG[split]
            parts = LONG_PARTS if is_long else rng.choice(PARTS)
            sentence = draw(split, grammars[name][split], parts, rng)
            text = "".join(char for char, _ in sentence)
            fits = len(text) > LONG_OVER if is_long else SHORTEST <= len(text) <= LONGEST
            if fits and text not in seen:
                seen.add(text)
                sentences.append(sentence)
        rng.shuffle(sentences)
        sample[split] = sentences
    return sample


# --------------------------------------------------------------------------------------- files and counts


def to_text(sentences: list[Tagged]) -> str:
    """One `character TAG` a line, a blank line between sentences."""
    return "\n\n".join("\n".join(f"{char} {tag}" for char, tag in sentence) for sentence in sentences) + "\n"


def entities(sentence: Tagged) -> Iterator[tuple[str, str]]:
    """The (text, type) of each entity, read back from the tags."""
    text, entity_type = "", ""
    for char, tag in [*sentence, ("", "O")]:
        if text and not tag.startswith("I-"):
            yield text, entity_type
            text = ""
        if tag != "O":
            text, entity_type = text + char, tag[2:]


def summary(sample: dict[str, list[Tagged]]) -> str:
    """A table of counts and of how much of dev and test never occurs as an entity in train."""
    rows = ["split  sentences  without entity   PER   LOC   ORG  unseen mentions  unseen distinct"]
    known = {text for sentence in sample["train"] for text, _ in entities(sentence)}
    for split, sentences in sample.items():
        found = [list(entities(sentence)) for sentence in sentences]
        counts = Counter(entity_type for row in found for _, entity_type in row)
        mentions = [text for row in found for text, _ in row]
        row = f"{split:5}  {len(sentences):9}  {sum(not row for row in found):14}"
        row += "".join(f"  {counts[entity_type]:4}" for entity_type in ("PER", "LOC", "ORG"))
        if split != "train":
            for texts in (mentions, set(mentions)):
                row += f"  {sum(text not in known for text in texts) / len(texts):15.1%}"
        rows.append(row)
    return "\n".join(rows)


def main(argv: list[str] | None = None) -> int:
    """Write the three files and print their counts."""
    parser = argparse.ArgumentParser(description="Write the bundled Chinese named-entity sample.")
    parser.add_argument("--seed", type=int, default=2026, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("tasks/samples/ner"), help="default: %(default)s")
    args = parser.parse_args(argv)
    sample = make_sample(args.seed)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        for split, sentences in sample.items():
            (args.out / f"{split}.txt").write_text(to_text(sentences), encoding="utf-8", newline="\n")
    except OSError as error:
        print(f"Cannot write the sample to {args.out}: {error.strerror or error}.", file=sys.stderr)
        return 2
    print(summary(sample))
    return 0


if __name__ == "__main__":
    sys.exit(main())
