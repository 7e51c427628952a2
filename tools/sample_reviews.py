"""The material of the review sample: templates by label, and what their slots may hold.

A template is one part of its text, and ``{slot}`` in it stands for one part of the slot's. ``{item}``, ``{aspect}``,
``{praise}`` and ``{blame}`` come from one domain (appliances, food, stays, services), so that a text stays on one
subject. Most templates come in pairs that use the same words to opposite ends: which label is right depends on what is
negated and on which half of a contrast comes last.
"""

from dataclasses import dataclass

from tools.sample_text import Pools, pools


@dataclass(frozen=True)
class Language:
    """All the material for reviews in one language."""

    templates: Pools  # by label
    domains: list[Pools]
    words: Pools  # shared by the domains; "aside" may follow any review, "positive" and "negative" one with that label


# ----------------------------------------------------------------------------------------------- English

ENGLISH = Language(
    words=pools(
        good="""excellent | great | superb | wonderful | impressive | lovely | brilliant | terrific | outstanding |
            splendid | fantastic | remarkable | delightful | flawless | top-notch | marvellous""",
        bad="""terrible | awful | poor | dreadful | disappointing | shoddy | horrible | second-rate | lousy |
            miserable | appalling | pathetic | dismal | atrocious | hopeless | disgraceful""",
        weekday="Monday | Tuesday | Wednesday | Thursday | Friday | Saturday | Sunday",
        month="January | February | March | April | June | July | August | October | November",
        relative="sister | brother | neighbour | aunt | flatmate | colleague | cousin | father",
        aside="""
            Paid by card.
            This is my first review here.
            My {relative} found it online.
            We are a family of four.
            Written on my phone, sorry for the spelling.
            That was in {month}.
            I came across it on a {weekday}.
            My {relative} is going to write a review as well.
            I live two streets away.
            For the record, nobody paid me for this.
            """,
        positive="{praise}. | On top of that, {praise}. | Besides, {praise}. | Also, {praise}. | And {praise}!",
        negative="{blame}. | On top of that, {blame}. | Besides, {blame}. | Also, {blame}. | And {blame}!",
    ),
    domains=[
        pools(
            item="""kettle | toaster | desk lamp | vacuum cleaner | coffee grinder | alarm clock | blender | radio |
                fan heater | razor | hair dryer | rice cooker""",
            aspect="switch | design | build quality | finish | cable | manual | casing | packaging | display",
            praise="""it still works like new after a year | every part fits snugly | even my grandfather got it at once
                it is so quiet that the cat sleeps beside it | it does the job in half the time
                it survived two falls from the table | the spare part came free of charge | I use it every day""",
            blame="""it gave up after a week | the switch came off in my hand | it rattles like an old tram
                it smells of burnt rubber | it takes twice as long as my old one | half the screws were missing
                it stops whenever you need it | the repair cost more than the thing itself""",
        ),
        pools(
            item="""noodle bar | bakery | bistro | pizzeria | tea house | canteen | fish restaurant | brunch place |
                curry house | snack stand | wine bar | pastry shop""",
            aspect="soup | menu | service | bread | seating | coffee | dessert | salad | music",
            praise="""the plates went back empty | the cook came out to ask how we liked it | we stayed three more hours
                the broth tastes as if it had simmered for two days | one portion is big enough for two
                my picky son asked for seconds | they found us a table in spite of the queue
                the bread is still warm when it arrives""",
            blame="""the soup was cold before it reached us | we waited an hour for two coffees
                they charged us for a dish we never got | there was a hair in the rice | everything tastes of old oil
                the waiter rolled his eyes at every question | half the menu was sold out by noon
                the portions would not feed a sparrow""",
        ),
        pools(
            item="guest house | hotel | hostel | holiday flat | campsite | inn | mountain hut | farm stay | resort",
            aspect="bed | breakfast | shower | room | location | front desk | garden | wifi | heating",
            praise="""we slept like babies | the owner drove us to the station | the view alone is worth the trip
                fresh towels appeared every morning | the children did not want to go home
                they kept our bags until the evening | you could eat off the floor | the rooms smell of clean linen""",
            blame="""the walls are as thin as paper | there was mould in the corner | we froze all night
                nobody was there to let us in | the lift was broken on all four days | the sheets had stains
                the shower ran cold after a minute | the bill listed a minibar we never had""",
        ),
        pools(
            item="""courier | online bank | language course | phone plan | repair shop | hairdresser | gym |
                music school | travel agency | streaming app | cleaning service | driving school""",
            aspect="support | price | website | booking | advice | staff | hotline | contract | schedule",
            praise="""they called back within minutes | they put it right without a question
                my money was back the same evening | it was done a day early | they explained every line of the bill
                they remembered my name | somebody answers even at midnight | I learned more than ever at school""",
            blame="""they never called back | nobody answers before noon | they blamed me for their own mistake
                I am still waiting for my money | they lost my papers twice | cancelling took three letters
                they sent me from one desk to the next | the price went up after I had signed""",
        ),
    ],
    templates=pools(
        positive="""
            The {aspect} is {good} and so is the {aspect}.
            A {good} {item}: {praise}.
            {praise}, and the {aspect} is {good}.
            I have nothing {bad} to say about the {aspect}.
            The {aspect} is not {bad} at all.
            Not a {bad} {item} by any means: {praise}.
            I expected a {bad} {item} and found a {good} one.
            Another review says "{blame}". Not in my case: {praise}.
            My {relative} called it {bad}. That opinion did not survive the first day: {praise}.
            The last {item} I tried was {bad}; this one is anything but.
            Far from {bad}! {praise}.
            If only every {item} were like this.
            Would I choose this {item} again? In a heartbeat.
            The {aspect} looks {bad} in the pictures, yet in truth it is {good}.
            It costs more than others and is worth every cent.
            I was ready to complain about the {aspect}, but there was no reason to.
            I cannot recommend this {item} enough.
            You will not find anything better for the money.
            Don't let the {bad} reviews put you off: {praise}.
            Never mind the {bad} {aspect}; I would choose this {item} again any day.
            After one {bad} {item} after another, finally this one.
            Who says that the {aspect} is {bad}? I think it is {good}.
            I wish I had found this {item} years ago.
            Five stars, and I never give five stars.
            The {aspect} could not be better.
            It is hard to find fault with this {item}.
            At first I thought the {aspect} was {bad}. I take that back.
            No, the {aspect} is not {bad}, and no, I am not easy to please.
            """,
        negative="""
            The {aspect} is {bad} and so is the {aspect}.
            A {bad} {item}: {blame}.
            {blame}, and the {aspect} is {bad}.
            I have nothing {good} to say about the {aspect}.
            The {aspect} is not {good} at all.
            Not a {good} {item} by any means: {blame}.
            I expected a {good} {item} and found a {bad} one.
            Another review says "{praise}". Not in my case: {blame}.
            My {relative} called it {good}. That opinion did not survive the first day: {blame}.
            The last {item} I tried was {good}; this one is anything but.
            Far from {good}! {blame}.
            If every {item} were like this, I would do without.
            Would I choose this {item} again? Not for free.
            The {aspect} looks {good} in the pictures, yet in truth it is {bad}.
            It costs more than others and is not worth a cent.
            I was ready to praise the {aspect}, but there was no reason to.
            I cannot recommend this {item}.
            You will find something better for half the money.
            Don't let the {good} reviews fool you: {blame}.
            Never mind the {good} {aspect}; I would not choose this {item} again.
            After one {good} {item} after another, now this one.
            Who says that the {aspect} is {good}? I think it is {bad}.
            I wish I had never found this {item}.
            One star, and only because zero is not on offer.
            The {aspect} could hardly be worse.
            It is hard to find a kind word for this {item}.
            At first I thought the {aspect} was {good}. I take that back.
            So {good} that I asked for my money back the next day.
            """,
        neutral="""
            The {aspect} is {good}, but the {aspect} is {bad}; on balance I am undecided.
            The {aspect} is {good}, the {aspect} {bad}. Three stars.
            Neither {good} nor {bad}, just a {item}.
            I have known this {item} for one day, so I cannot say much yet.
            Does anybody know whether the {aspect} has changed since last year?
            It does what a {item} does, no more and no less.
            {praise}. Then again, {blame}. I cannot decide.
            {blame}. Then again, {praise}. I cannot decide.
            Some say the {aspect} is {good}, some say it is {bad}. I have no opinion yet.
            This is the same {item} as last year under a new name.
            There are better ones and there are worse ones.
            The {aspect} is neither a reason to choose this {item} nor a reason to avoid it.
            I compared it with another {item} and could not tell the difference.
            My {relative} finds the {aspect} {good}, I find it {bad}, so we shall see.
            Ordered on {weekday}, nothing to report so far.
            An ordinary {item} at an ordinary price.
            What you see in the pictures is what you get.
            It used to be {bad} and is now about average.
            It used to be {good} and is now about average.
            I was asked for a review, but have not tried the {item} often enough to write one.
            The {aspect} is not {good}, but it is not {bad} either.
            Reviews range from {good} to {bad}. Mine would be somewhere between.
            Is the {aspect} {good} or {bad}? Ask me again in {month}.
            """,
    ),
)

# ------------------------------------------------------------------------------------- Simplified Chinese

SIMPLIFIED = Language(
    words=pools(
        good="出色|理想|到位|给力|像样|棒|让人满意|让人放心|让人舒心|令人惊喜|招人喜欢|值得夸|讨人欢心|叫人佩服",
        bad="糟糕|差劲|离谱|敷衍|寒酸|烂|闹心|拉胯|让人失望|让人头疼|让人窝火|叫人后悔|糟心|坑人",
        weekday="一|二|三|四|五|六|日",
        month="一|三|四|五|七|八|十|十一",
        relative="同事|表姐|室友|邻居|我妈|老公|我哥|闺蜜",
        aside="""
            第一次写评价。|{relative}介绍的。|用手机打字，见谅。|家里一共四口人。|{month}月份的事了。
            周{weekday}下午付的款。|我就住在附近。|没有收钱，自己写的。|{relative}也会来评。|补个评价。
            """,
        positive="{praise}。|而且{praise}。|对了，{praise}。|还有，{praise}！|再说一句，{praise}。",
        negative="{blame}。|而且{blame}。|对了，{blame}。|还有，{blame}！|再说一句，{blame}。",
    ),
    domains=[
        pools(
            this="这款",
            item="电水壶|台灯|吸尘器|耳机|键盘|电饭锅|加湿器|闹钟|剃须刀|豆浆机|电风扇|吹风机",
            aspect="做工|外观|手感|按键|包装|说明书|售后|质感|屏幕",
            praise="""用了一年还跟新的一样|声音小得猫都能在旁边睡|老人一看就会用|摔了两次也没事|三分钟就搞定
                客服半夜都回消息|每个零件都严丝合缝|全家抢着用""",
            blame="""用了一周就罢工|按键一按就掉|响得像拖拉机|一股烧焦的橡胶味|螺丝少了一半|修一次比新买还贵|三天两头死机
                客服只会复制粘贴""",
        ),
        pools(
            this="这家",
            item="面馆|火锅店|小吃店|茶馆|面包店|烧烤摊|早餐铺|川菜馆|食堂|甜品店|饺子馆|咖啡店",
            aspect="汤底|环境|服务|摆盘|分量|口味|上菜速度|甜点|装修",
            praise="""连汤都喝光了|排队一小时也愿意|老板还送了一碟小菜|孩子吵着下周还来|面条筋道得很
                一口下去就想起外婆家|店员记得我不吃香菜|盘子都见底了""",
            blame="""菜端上来已经凉了|等了一个小时才上菜|米饭里吃出头发|结账多算了两个菜|肉柴得咬不动|服务员全程黑脸
                咸得喝了三瓶水|一份还不够塞牙缝""",
        ),
        pools(
            this="这家",
            item="民宿|酒店|青年旅舍|度假村|农家院|公寓|客栈|露营地|招待所",
            aspect="早餐|房间|位置|前台|隔音|卫生|装修|热水|床品",
            praise="""一觉睡到天亮|老板开车送我们去车站|推开窗就是湖|毛巾每天都换新的|孩子都不肯回家
                前台帮忙寄存了一整天行李|地板干净得能坐|房间里有阳光的味道""",
            blame="""隔壁打呼噜听得一清二楚|墙角发霉|一晚上冻醒三次|到了没人开门|电梯坏了四天|床单上有污渍
                洗到一半没热水|退房时多收了一笔钱""",
        ),
        pools(
            this="这家",
            item="快递|网课|健身房|理发店|宽带|保洁公司|搬家公司|维修店|驾校|洗衣店|旅行社|琴行",
            aspect="客服|价格|态度|预约流程|效率|师傅|收费|手机应用|时间安排",
            praise="""打个电话五分钟就来了|二话不说就给退了钱|比说好的还早一天|账单一条一条讲给我听|还记得我的名字
                半夜也有人接电话|东西一件没碰坏|学到的比一学期还多""",
            blame="""电话打了十遍没人接|把错全推到我头上|退款等到现在|资料弄丢了两次|退会要跑三趟|签完字就涨价
                一个柜台推给另一个柜台|约好的时间放了我鸽子""",
        ),
    ],
    templates=pools(
        positive="""
            {aspect}很{good}，{aspect}也没让我失望。|{this}{item}真的{good}，{praise}。
            本以为{aspect}会很{bad}，结果很{good}。|{aspect}一点也不{bad}。
            谁说{aspect}{bad}的？我觉得很{good}。|以前试过的{item}都很{bad}，这次完全相反。
            网上有人说{blame}，我遇到的却是{praise}。|{praise}，挑不出毛病。
            {relative}说{bad}，我偏不信，一试果然{good}。|{aspect}好得没话说。
            别被差评吓到，{praise}。|后悔没早点遇到{this}{item}。
            贵是贵了点，但每一分钱都花得值。|除了夸，我找不到别的话。
            要是所有的{item}都像这样就好了。|原来担心{aspect}很{bad}，看来是我多虑了。
            说{aspect}{bad}的，肯定没认真体验过。|{aspect}再{good}不过了。
            不推荐？怎么可能，我已经介绍给三个人了。|照片上看着很{bad}，实际却很{good}。
            {blame}这种事，我一次也没碰到过。|虽然{aspect}有点{bad}，但我还会再选{this}{item}。
            没有一处{bad}的地方，{praise}。|{this}{item}哪里{bad}了？明明{praise}。
            """,
        negative="""
            {aspect}很{bad}，{aspect}也没让我满意。|{this}{item}真的{bad}，{blame}。
            本以为{aspect}会很{good}，结果很{bad}。|{aspect}一点也不{good}。
            谁说{aspect}{good}的？我觉得很{bad}。|以前试过的{item}都很{good}，这次完全相反。
            网上有人说{praise}，我遇到的却是{blame}。|{blame}，找不到优点。
            {relative}说{good}，我信了，一试果然{bad}。|{aspect}差得没话说。
            别被好评骗了，{blame}。|后悔遇到{this}{item}。
            便宜是便宜，但一分钱都不值得花。|除了骂，我找不到别的话。
            要是所有的{item}都像这样，谁还敢花钱。|原来听说{aspect}很{good}，看来是我太天真了。
            说{aspect}{good}的，肯定是自己人。|{aspect}再{bad}不过了。
            推荐？怎么可能，我已经劝退三个人了。|照片上看着很{good}，实际却很{bad}。
            {praise}这种事，我一次也没碰到过。|虽然{aspect}还算{good}，但我不会再选{this}{item}。
            真是太“{good}”了，{blame}，当天就要求退款。|{this}{item}哪里{good}了？明明{blame}。
            """,
        neutral="""
            {aspect}很{good}，{aspect}很{bad}，总体一般。|不好不坏，就是普通的{item}。
            才体验了一天，暂时说不出好坏。|请问{this}{item}的{aspect}跟去年一样吗？
            有人说很{good}，有人说很{bad}，我还在观望。|{praise}，可是{blame}，一半一半吧。
            {blame}，可是{praise}，一半一半吧。|中规中矩，没有惊喜也没有失望。
            跟别的{item}差不多，看个人需要。|周{weekday}下的单，还没来得及试。
            {aspect}不算{good}，也谈不上{bad}。|以前很{good}，现在只能算普通。
            以前很{bad}，现在只能算普通。|{relative}觉得{good}，我觉得{bad}，先打三星。
            {this}{item}换了新名字，别的没变。|平台让写评价，其实没什么可写的。
            价格和描述一致，仅此而已。|想问一下，{aspect}有没有改进？
            {aspect}是{good}还是{bad}，{month}月再来说。|可选可不选，{aspect}跟别家没有区别。
            """,
    ),
)

# ------------------------------------------------------------------------------------ Traditional Chinese

TRADITIONAL = Language(
    words=pools(
        good="優秀|理想|到位|貼心|像樣|棒|讓人滿意|令人安心|令人驚豔|值得稱讚|討喜|俐落",
        bad="糟糕|差勁|誇張|敷衍|寒酸|爛|惱人|讓人失望|令人傻眼|叫人後悔|氣人|掉漆",
        weekday="一|二|三|四|五|六|日",
        month="一|二|四|六|七|九|十|十二",
        relative="同事|表姊|室友|鄰居|我媽|老公|學長|妹妹",
        aside="""
            第一次留評論。|{relative}介紹的。|用手機打字請見諒。|{month}月的事了。|自己花錢，沒有業配。
            週{weekday}晚上付的款。|補一則心得。|{relative}說他也會來評。
            """,
        positive="{praise}。|而且{praise}。|對了，{praise}。|還有，{praise}！|補充一點，{praise}。",
        negative="{blame}。|而且{blame}。|對了，{blame}。|還有，{blame}！|補充一點，{blame}。",
    ),
    domains=[
        pools(
            this="這台",
            item="熱水壺|檯燈|吸塵器|烤箱|除濕機|果汁機|電子鍋|電風扇|收音機|吹風機",
            aspect="做工|外型|手感|按鍵|包裝|說明書|售後服務|質感",
            praise="""用了一年還跟新的一樣|安靜到貓睡在旁邊|阿公一看就會用|摔過兩次照樣能用|零件補寄不用錢|全家天天用""",
            blame="""用一個禮拜就掛了|按鍵一按就掉|吵得像拖拉機|有一股燒焦味|螺絲少了一半|修理費比買新的還貴""",
        ),
        pools(
            this="這間",
            item="麵店|火鍋店|小吃店|茶館|麵包店|早餐店|牛排館|甜點店|咖啡廳|便當店",
            aspect="湯頭|環境|服務|擺盤|份量|口味|出餐速度|甜點",
            praise="""湯喝到一滴不剩|排隊一小時也甘願|老闆還送了小菜|小孩吵著要再來|一個人吃兩人份|麵包端上來還是熱的""",
            blame="""菜送上來都冷了|等了一小時才出餐|飯裡有頭髮|結帳多算兩道菜|店員全程臭臉|鹹到喝了三瓶水""",
        ),
        pools(
            this="這間",
            item="民宿|飯店|青年旅館|度假村|露營區|溫泉旅館|商務旅館|山莊",
            aspect="早餐|房間|地點|櫃檯|隔音|清潔|裝潢|網路",
            praise="""一覺到天亮|老闆開車載我們去車站|打開窗就是海|毛巾每天換新的|小孩不肯回家|地板乾淨到能躺""",
            blame="""隔壁打呼聽得一清二楚|牆角發霉|半夜冷醒三次|到了沒人開門|電梯壞了四天|床單有污漬""",
        ),
    ],
    templates=pools(
        positive="""
            {aspect}很{good}，{aspect}也沒讓我失望。|{this}{item}真的{good}，{praise}。
            原本以為{aspect}會很{bad}，沒想到很{good}。|{aspect}一點都不{bad}。
            誰說{aspect}{bad}？我倒覺得{good}。|之前試過的{item}都很{bad}，這次剛好相反。
            網路上說{blame}，我遇到的卻是{praise}。|{praise}，找不到缺點。
            {relative}嫌{bad}，我不信，去了才知道{good}。|別被負評嚇跑，{praise}。
            真後悔沒有早一點認識{this}{item}。|價格偏高，不過每一塊錢都值得。
            擔心{aspect}很{bad}，結果是我想太多。|雖然{aspect}有點{bad}，下次還是選{this}{item}。
            {blame}？我一次都沒遇過。|不再選它？怎麼可能，已經幫爸媽也訂了。
            """,
        negative="""
            {aspect}很{bad}，{aspect}也沒讓我滿意。|{this}{item}真的{bad}，{blame}。
            原本以為{aspect}會很{good}，沒想到很{bad}。|{aspect}一點都不{good}。
            誰說{aspect}{good}？我倒覺得{bad}。|之前試過的{item}都很{good}，這次剛好相反。
            網路上說{praise}，我遇到的卻是{blame}。|{blame}，找不到優點。
            {relative}誇{good}，我信了，去了才知道{bad}。|別被好評騙了，{blame}。
            真後悔認識{this}{item}。|價格偏低，但是一塊錢都不值得花。
            期待{aspect}很{good}，結果是我想太多。|雖然{aspect}還算{good}，下次不會再選{this}{item}。
            {praise}？我一次都沒遇過。|再選它？怎麼可能，錢都想要回來。
            """,
        neutral="""
            {aspect}很{good}，{aspect}很{bad}，整體普通。|不好也不壞，就是一般的{item}。
            才試了一天，還說不出好壞。|請問{this}{item}的{aspect}和去年一樣嗎？
            有人說{good}，有人說{bad}，我再觀察看看。|{praise}，可是{blame}，一半一半。
            {blame}，可是{praise}，一半一半。|跟別的{item}差不多，看個人需求。
            週{weekday}才下訂，還沒機會試。|{aspect}不算{good}，也說不上{bad}。
            以前很{good}，現在只能算普通。|以前很{bad}，現在只能算普通。
            {relative}覺得{good}，我覺得{bad}，先給三顆星。|{this}{item}換了招牌，其他都沒變。
            系統叫我留言，其實沒什麼好寫。|和網頁寫的一樣，如此而已。
            """,
    ),
)
