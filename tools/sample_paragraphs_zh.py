"""The Chinese material of the paragraph sample, in both scripts; ``tools.make_task_samples`` explains the notation."""

from tools.sample_text import pools

# Divided between the splits, so that no given name and no town is in two of them.
NAMES_SIMPLIFIED = pools(
    given="""念慈|知行|亦凡|书瑶|景初|若溪|怀安|砚秋|映雪|长卿|予宁|清和|望舒|言蹊|霁月|松年|以南|采薇|陌尘|拾光|
        舟遥|梓木|听澜|闻笛|疏桐|千山|半夏|忍冬|朝颜|未央|既明|如岚|伯言|仲远|叔青|季棠""",
    town="""青鹭镇|白沙渡|松茗县|云岫市|望潮镇|柳溪县|石鼓坪|落霞湾|银杏镇|竹影县|鹿鸣市|寒泉镇|枫桥坞|月牙湾|
        雁回县|梨花渡|金穗市|盐井坡|桃叶镇|霜林县|麦浪镇|苔石村|潮音市|半塘镇""",
    stem="""澄光|远岫|松风|听雨|星野|晴岚|禾田|流萤|山月|青瓷|飞鸿|清砚|云帆|丹枫|白榆|长亭|春水|石榴|雪松|渔火|
        晓钟|芦花|灯塔|麦穗|归雁|溪桥|竹笛|墨池|棠梨|风铃""",
)
NAMES_TRADITIONAL = pools(
    given="""語桐|聿安|芷晴|承曜|予恩|書瑀|念祖|沛霖|向榮|采蘋|望舒|懷遠|景行|若蘭|映彤|思源|亦謙|禾青|明澈|澄觀|
        硯之|松齡|瑞雲|竹君|清嵐""",
    town="""鷺鳴鎮|望海鄉|青楓里|茶山庄|石牌渡|白沙灣|竹溪鄉|雲井鎮|楓港坪|月桃鄉|鹽埕灣|松羅鎮|蓮塘鄉|金穗庄|
        霧坪里|溪頭尾""",
    stem="""晨曦|碧波|楓葉|觀瀾|稻香|松濤|白鷺|青石|春泥|雲水|星河|鳳凰木|苦楝|月光|蘆葦|海燕|山茶|竹林|長風|
        小滿|穀雨|霜降|立夏|白露""",
)

WORDS_SIMPLIFIED = pools(
    person="{surname}{given}",
    surname="林|陆|沈|顾|苏|温|江|叶|许|宋|程|方|阮|裴|韩|秦|柳|孟",
    building="粮仓|祠堂|染坊|茶馆|船坞|砖窑",
    season="春季|夏季|秋季|冬季",
    date="1月12日|2月3日|3月27日|4月9日|5月16日|6月22日|7月5日|8月30日|9月18日|10月11日|11月7日|12月24日",
    n="|".join(str(n) for n in range(12, 99)),
    big="|".join(str(n) for n in range(1200, 60000, 1700)),
    year="|".join(f"{year}年" for year in range(1891, 2022)),
)
WORDS_TRADITIONAL = WORDS_SIMPLIFIED | pools(
    surname="林|陸|沈|顧|蘇|溫|江|葉|許|宋|程|方|阮|裴|韓|秦|柳|孟",
    building="穀倉|祠堂|染坊|茶館|碾米廠|磚窯",
    season="春季|夏季|秋季|冬季",
)

KINDS_SIMPLIFIED = """
    = {stem}乐器厂 | {stem}自行车厂 | {stem}灯具公司 | {stem}钟表公司
    - {name}由{person}于{year}在{town}创办，最初设在一座旧{building}里。
    - {year}，{person}在{town}的一座旧{building}里创办了{name}。
    ? person: {name}是谁创办的？ | 谁创办了{name}？
    ? year: {name}是哪一年创办的？ | {name}什么时候成立？
    ? town: {name}最初设在哪里？ | {name}在什么地方创办？
    - 刚开业时只有{n}名工人，大多是街坊。
    ? n: {name}开业时有多少名工人？ | {name}最初有几名工人？
    - {year2}，{person2}接任厂长，并把生产迁到{town2}。
    ? person2: 谁接任{name}的厂长？ | {name}的第二任厂长是谁？
    ? town2: {name}的生产迁到了哪里？ | {name}后来搬到什么地方？
    - {year3}的一场大火之后，整个厂房重新修建。
    ? year3: {name}哪一年遭遇大火？ | {name}的厂房是什么时候烧毁的？
    - 如今该厂每年售出约{big}件产品。
    ? big: {name}每年售出多少件产品？ | {name}一年能卖多少件？
    - 设计师{person3}凭一款折叠产品获得全国奖项。
    ? person3: {name}的哪位设计师获奖？ | {name}的折叠产品是谁设计的？

    = {stem}图书馆 | {stem}美术馆 | {stem}博物馆
    - {name}位于{town}，{date}开馆，首批{n}件藏品由{person}捐赠。
    - {person}把{n}件藏品捐给{town}，{name}于{date}开馆。
    ? town: {name}在哪里？ | {name}位于什么地方？
    ? date: {name}在哪一天开馆？ | {name}几月几日开馆？
    ? n: {name}首批有多少件藏品？ | {name}开馆时有几件藏品？
    ? person: {name}的首批藏品是谁捐的？ | 谁向{name}捐赠了藏品？
    - 馆舍的设计者是来自{town2}的建筑师{person2}。
    ? person2: {name}的建筑师是谁？ | 谁设计了{name}的馆舍？
    ? town2: {name}的建筑师来自哪里？ | 设计{name}的人是哪里人？
    - {year}扩建了东楼，费用来自义卖。
    ? year: {name}哪一年扩建？ | {name}的东楼什么时候建成？
    - {year2}，一幅小画在楼梯间失窃，至今没有找到。
    ? year2: {name}哪一年有画失窃？ | {name}的画是什么时候丢的？
    - 现任馆长{person3}每周日给孩子们讲故事。
    ? person3: {name}的馆长是谁？ | 谁在{name}给孩子们讲故事？
    - 每年约有{big}人前来参观。
    ? big: 每年有多少人参观{name}？ | {name}一年接待多少人？

    = {stem}大桥 | {stem}渡槽 | {stem}铁路桥
    - {year}建成的{name}横跨河面，连接{town}的南北两岸。
    - {name}位于{town}，{year}建成通行。
    ? year: {name}是哪一年建成的？ | {name}什么时候通行？
    ? town: {name}在哪里？ | {name}位于什么地方？
    - 总工程师是{person}，{n}名石匠参加了桥墩施工。
    ? person: {name}的总工程师是谁？ | 谁负责{name}的工程？
    ? n: 多少名石匠参加了{name}的施工？ | 修{name}的石匠有几名？
    - 石料用船从{town2}运来。
    ? town2: {name}的石料来自哪里？ | 修{name}的石头从什么地方运来？
    - {date}的洪水冲走了中间一孔，此后数月只能靠渡船。
    ? date: 洪水在哪一天冲坏了{name}？ | {name}几月几日被洪水冲坏？
    - 桥上的电车一直开到{year2}。
    ? year2: {name}上的电车开到哪一年？ | {name}什么时候不再通电车？
    - 现在每天约有{big}辆汽车通过。
    ? big: 每天有多少辆汽车通过{name}？ | {name}一天过多少辆车？

    = {stem}音乐节 | {stem}灯会 | {stem}诗会
    - {name}从{year}起在{town}举办，时间总在{season}。
    - 自{year}以来，{town}总在{season}举办{name}。
    ? year: {name}从哪一年开始举办？ | {name}什么时候办了第一届？
    ? town: {name}在哪里举办？ | {name}的举办地是什么地方？
    ? season: {name}在什么季节举办？ | {name}总在哪个季节？
    - 这个主意是小学老师{person}想出来的。
    ? person: {name}是谁想出来的？ | 哪位老师提出办{name}？
    - 第一届只来了{n}名观众，大家坐在草垛上。
    ? n: 第一届{name}来了多少名观众？ | {name}头一次举办时有几名观众？
    - 去年共卖出{big}张票，创下新高。
    ? big: {name}去年卖出多少张票？ | 去年{name}的票卖了几张？
    - 只有{year2}因为台风停办过一次。
    ? year2: {name}哪一年停办？ | {name}什么时候因台风取消？
    - 每届都由来自{town2}的歌手{person2}开场。
    ? person2: {name}由哪位歌手开场？ | 谁在{name}第一个唱歌？
    ? town2: 给{name}开场的歌手来自哪里？ | {name}的歌手是哪里人？

    = {stem}科考队 | {stem}登山队 | {stem}勘探队
    - {date}，{person}率领{name}从{town}出发。
    - {name}于{date}从{town}出发，队长是{person}。
    ? date: {name}在哪一天出发？ | {name}几月几日启程？
    ? person: {name}的队长是谁？ | 谁率领{name}？
    ? town: {name}从哪里出发？ | {name}的出发地是什么地方？
    - 全队共有{n}人，还带了{n2}匹马。
    ? n: {name}共有多少人？ | {name}有几名队员？
    ? n2: {name}带了多少匹马？ | {name}的马有几匹？
    - 随队医生{person2}的日记在{year}出版。
    ? person2: {name}的医生是谁？ | 谁在{name}写了日记？
    ? year: {name}医生的日记哪一年出版？ | 写{name}的日记什么时候出版？
    - 他们被大雪困了{n3}天。
    ? n3: {name}被大雪困了多少天？ | 大雪把{name}困了几天？
    - 带回的{big}份标本现存于{town2}。
    ? big: {name}带回多少份标本？ | {name}采了几份标本？
    ? town2: {name}的标本存在哪里？ | {name}带回的标本现在在什么地方？
    - 摄影师{person3}因病留在山下，半年后才归队。
    ? person3: {name}的哪位摄影师留在山下？ | 谁半年后才回到{name}？
"""

KINDS_TRADITIONAL = """
    = {stem}國小 | {stem}書院 | {stem}中學
    - {name}創立於{year}，第一任校長是{person}，校址在{town}。
    - {year}，{person}在{town}創立{name}。
    ? year: {name}是哪一年創立的？ | {name}什麼時候創校？
    ? person: {name}是誰創立的？ | {name}的第一任校長是誰？
    ? town: {name}在哪裡？ | {name}的校址在什麼地方？
    - 開學時只有{n}名學生，借用一座舊{building}上課。
    ? n: {name}開學時有多少名學生？ | {name}一開始有幾名學生？
    - {year2}的地震震垮了教室，師生在樹下上課。
    ? year2: {name}的教室哪一年被震垮？ | {name}什麼時候遇到地震？
    - 音樂老師{person2}寫了校歌。
    ? person2: {name}的校歌是誰寫的？ | 誰替{name}寫了校歌？
    - 圖書室現有{big}本書，多由校友捐贈。
    ? big: {name}的圖書室有多少本書？ | {name}現有幾本藏書？
    - 每年{date}是校慶，全校一起走到{town2}。
    ? date: {name}的校慶在哪一天？ | {name}幾月幾日校慶？
    ? town2: {name}校慶時走到哪裡？ | 校慶那天，{name}全校走到什麼地方？
    - 畢業生{person3}後來成為飛行員。
    ? person3: {name}的哪位畢業生成為飛行員？ | 從{name}畢業的飛行員是誰？

    = {stem}茶行 | {stem}餅舖 | {stem}布莊
    - {name}由{person}在{year}開設，最初的店面在{town}。
    - {person}在{year}來到{town}，開了{name}。
    ? town: {name}最初開在哪裡？ | {name}是在什麼地方開的？
    ? person: {name}是誰開的？ | 誰開設了{name}？
    ? year: {name}是哪一年開的？ | {name}什麼時候開店？
    - 第二代老闆{person2}把店面搬到{town2}。
    ? person2: {name}的第二代老闆是誰？ | 誰把{name}的店面搬走？
    ? town2: {name}的店面搬到哪裡？ | {name}後來搬到什麼地方？
    - 全盛時期請了{n}個夥計，倉庫有{n2}間。
    ? n: {name}全盛時期有多少個夥計？ | {name}最多請過幾個夥計？
    ? n2: {name}有多少間倉庫？ | {name}的倉庫有幾間？
    - {year2}的水災淹掉了半間店。
    ? year2: {name}哪一年遇到水災？ | {name}什麼時候淹水？
    - 現在每個月賣出{big}包。
    ? big: {name}每個月賣出多少包？ | {name}一個月賣幾包？
    - 招牌上的字是書法家{person3}寫的。
    ? person3: {name}的招牌是誰寫的？ | 哪位書法家替{name}寫招牌？

    = {stem}燈塔 | {stem}氣象站 | {stem}天文台
    - {name}建於{year}，矗立在{town}的山崖上，由{person}設計。
    - {town}山崖上的{name}由{person}設計，{year}落成。
    ? year: {name}建於哪一年？ | {name}什麼時候落成？
    ? town: {name}在哪裡？ | {name}矗立在什麼地方？
    ? person: {name}是誰設計的？ | 誰設計了{name}？
    - 從山腳走上去要經過{n}個彎道。
    ? n: 走到{name}要經過多少個彎道？ | 往{name}的路有幾個彎道？
    - {date}的雷擊打壞了鏡片。
    ? date: {name}的鏡片在哪一天被打壞？ | 雷擊在幾月幾日打壞{name}的鏡片？
    - {year2}換上新儀器，是從{town2}運來的。
    ? year2: {name}哪一年換新儀器？ | {name}什麼時候換上新儀器？
    ? town2: {name}的新儀器從哪裡運來？ | {name}的新儀器來自什麼地方？
    - 守了{n2}個月的管理員{person2}去年退休。
    ? person2: {name}的管理員是誰？ | 誰去年從{name}退休？
    ? n2: {name}的管理員守了多少個月？ | 管理員在{name}守了幾個月？
    - 假日最多有{big}名遊客。
    ? big: {name}假日最多有多少名遊客？ | 假日會有幾名遊客到{name}？
"""
