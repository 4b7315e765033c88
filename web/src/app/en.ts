// English, by the Chinese text it stands for. The second table words what the server says in Chinese.
const texts: Record<string, string> = {
  // frame
  "执证": "Zhizheng", "执证首页": "Zhizheng, start page", "导航": "Navigation", "主菜单": "Main menu", "打开菜单": "Open menu", "关闭菜单": "Close menu", "跳到正文": "Skip to content",
  "证据": "Evidence", "证据库": "Evidence library", "办案": "Casework", "案件": "Cases", "装备与经费": "Equipment and money", "装备": "Devices", "拒收报文": "Refused messages",
  "经费台账": "Budget ledger", "组织": "Organisation", "执法人员": "Officers", "权力事项": "Power items", "乡镇与部门": "Townships", "可信": "Trust", "证据册": "Evidence log",
  "全县": "Whole county", " 等 {{n}} 处": " and others, {{n}} in all", "无乡镇范围": "No township", "浅色": "Light", "深色": "Dark", "修改密码": "Change password", "退出登录": "Sign out",
  "{{name}}，{{place}}，{{role}}：账号菜单": "{{name}}, {{place}}, {{role}}: account menu", "返回": "Back", "示例数据 · 人员与村名虚构": "Demo data · people and places invented",
  "搜索": "Search", "案号、案由": "Case number, title", "编号、序列号": "Serial number", "文件名、编号、记录仪": "File name, number, recorder", "证据册状态未知": "State of the log unknown",
  "证据册停签：{{why}}": "Log stopped signing: {{why}}", "证据册 {{n}} 页 · 存证点 {{ago}}": "Log {{n}} leaves · checkpoint {{ago}}", "{{name}} 于 {{time}} 打印": "Printed by {{name}}, {{time}}", "没有这个页面": "No such page", "回到首页": "To the start page",


  // docking stations
  "指纹": "Fingerprint", "{{n}} 段": "{{n}} clips", "未识别": "Unknown", "内容": "Content", "知道了": "Understood", "没有成功，请再试一次": "That didn't work, please try again",
  "停用": "Out of use", "解锁中": "Unlocking", "正在读卡 · 勿取": "Reading · don't take", "可取走": "May be taken", "影像上传中 · 勿取": "Uploading · don't take", "全部已封存": "All sealed",
  "已清除 · 可取走": "Wiped · may be taken", "缺失待说明": "Gap without a reason", "待认领": "Whose is it?", "需处理": "Needs attention", "插入": "Docked", "取出": "Undocked", "领用": "Taken",
  "归还": "Returned", "标注活动": "Labelled", "标记误录": "Marked as mistaken", "说明缺失": "Gap explained", "清除原件": "Original removed", "认领": "Claimed", "开具回单": "Slip made out",
  "巡查": "Patrol", "检查": "Inspection", "劝导": "Persuasion", "送达": "Service", "断线": "Offline", "{{n}} 个站 · {{on}} 个在线": "{{n}} stations · {{on}} online",
  "还没有采集站": "No docking station yet", "登记采集站后，这里实时显示各站归站情况。": "Once stations are enrolled, this page shows them live.",
  "今日指纹 已入册 / 应有": "Fingerprints today, logged / due", "今日影像 已到库": "Footage today, in store", "影像到库比例": "Share in store", "各乡镇今日归站": "Townships today",
  "影像到库": "Footage in store", "最近入册": "Last logged", "今日尚无": "Nothing today", "缺 {{n}}": "{{n}} missing",
  "可取走：指纹已入册，影像已进本站暂存盘。全部已封存：每段影像的回执都已核对无误，此前不清卡。": "May be taken: fingerprints are in the log, footage is in the station's spool. All sealed: each clip's receipt was verified; no card is wiped before that.",
  "最近报到 {{ago}}": "Last report {{ago}}", "暂存盘剩 {{n}}": "{{n}} free in the spool", "归站清单": "Docking list",
  "采集站自 {{time}} 起没有报到，以下是当时的情形。": "The station has not reported since {{time}}; this is how it was then.", "在站指纹 已入册 / 应有": "Fingerprints in slots, logged / due",
  "待传": "To be sent", "上行": "Uplink", "限 {{n}}": "limit {{n}}", "不限速": "no limit", "预计传完": "Done by", "暂停中": "Paused", "待人处理": "Needs a person",
  "采集站还没有报告工位": "The station has not reported its slots", "采集站程序以“station”方式运行后，这里显示每个工位。": "Once the station's program runs as \"station\", each slot is shown here.",
  "{{n}} 号工位": "Slot {{n}}", "指纹已入册 {{time}}": "Logged {{time}}", "未全部入册": "Not all logged", "未封存 {{n}}": "{{n}} not sealed", "站上发生的事": "What happened here",
  "还没有：插入、领用、归还、标注、清除都会记在这里。": "Nothing yet: docking, taking, returning, labels and wipes are kept here.", "佩戴人": "Worn by", "按采集站的领用记录": "by the station's record",
  "执法活动": "Activity", "记录仪原件": "Original on the recorder", "核对回执后已清除 {{time}}": "Removed after its receipt was verified, {{time}}",
  "{{name}} 的采集站 PIN": "{{name}}'s PIN for docking stations", "只显示这一次，请当面告知本人；原来的 PIN 已作废。": "Shown this once: tell the officer in person. The old PIN has ended.",
  "采集站 PIN": "Station PIN", "为 {{name}} 新发 PIN": "New PIN for {{name}}", "新发": "New",
  // failures, lists, small parts
  "连不上服务器": "The server can't be reached", "请检查网络或服务器是否在运行。": "Check the network, and whether the server is running.", "稍后重试": "try again later", "重试": "Try again",
  "页面出错": "This page failed", "可以：{{next}}": "What can be done: {{next}}", "请求号": "Request", "链接已复制，含当前筛选和位置": "Link copied, with filters and position",
  "浏览器不允许复制，请从地址栏复制": "The browser refuses to copy; copy from the address bar", "复制链接": "Copy link", "已复制": "Copied", "浏览器不允许复制，请手动选中": "The browser refuses to copy; select the text",
  "乡镇：全部": "Township: all", "清除筛选": "Clear filters", "载入更多": "Load more", "取消": "Cancel", "确定": "OK", "保存": "Save", "添加": "Add", "停止": "Stop", "操作": "Actions", "理由": "Reason", "说明": "Note",
  "2 到 200 字": "2 to 200 characters", "2 到 120 字": "2 to 120 characters", "{{n}} 条": "{{n}} records", "{{n}} 件": "{{n}}", "{{n}} 台": "{{n}} devices", "{{n}} 个": "{{n}}",
  "日期": "Date", "时间": "Time", "状态": "Status", "类型": "Kind", "类别": "Kind", "种类": "Kind", "编号": "Number", "名称": "Name", "姓名": "Name", "单位": "Unit", "文件": "File", "大小": "Size", "原因": "Reason", "来源": "From", "主题": "Topic",
  "乡镇": "Township", "乡镇 / 部门": "Township", "镇": "Town", "乡": "Township", "街道": "Subdistrict", "县级部门": "County department", "县": "County", "区划代码": "Code", "去看": "See", "人员": "Officers", "事项": "Power items",

  // track, previews
  "轨迹": "Track", "{{n}} 公里": "{{n}} km", "{{n}} 米": "{{n}} m", "{{n}} 公里/小时": "{{n}} km/h", "卫星时间": "Satellite time", "卫星时间 {{time}}": "Satellite time {{time}}",
  "{{n}} 个定位点，范围 {{across}}": "{{n}} positions, {{across}} across", "记录仪自报的行进路线，上北": "The way the recorder claims to have gone, north up", "位置由记录仪自报，未经核实。": "Positions are the recorder's own claim, not verified.",
  "来自随附文件": "From the sidecar", "另有 {{n}} 个不合理的定位点没有画出。": "{{n}} implausible positions are not drawn.", "选段对齐到关键帧 {{at}}": "The range keeps to the keyframe at {{at}}",
  "上一关键帧": "Keyframe before", "下一关键帧": "Next keyframe", "已排队，轮到时开始生成": "Queued; it starts when its turn comes", "正在生成": "Being made", "生成没有成功，可以再试": "It could not be made; try again",
  "上次生成的已被清理，可以重新生成。": "The last one was cleared away; it can be made anew.", "预览，非原件": "Preview, not the original", "生成预览": "Make a preview", "画面总览": "Contact sheet", "画面总览（预览，非原件）": "Contact sheet (preview, not the original)",
  "由平台从原件转换而来，只供查看；取证、校验、出示以原件为准。查看预览也记入保管链。": "Converted from the original by the platform, for looking at only; the original counts. Viewing a preview goes into the custody log too.",
  "从当前画面起生成": "Make it from here on", "从当前画面起重新生成": "Make it anew from here on",

  // file names
  "文件名规则": "File name rules", "名称自称的内容；没有规则认识的名称照样入库": "What names claim; a name that no rule knows is ingested all the same", "文件名，每行一个（最多 500 个）": "File names, one a line (500 at most)",
  "试用的规则（TOML，不填即用正在使用的规则；只试读，不保存）": "Rules to try (TOML; empty for the ones in use; nothing is kept)", "试读": "Try", "试读结果": "What was understood", "没有文件名": "No file names", "文件名": "File name",
  "规则": "Rule", "人员编号": "Officer's number", "开始时间": "Start", "序号": "Number", "编号系列": "Counted in", "不认识，照样入库": "Unknown; ingested all the same", "名称自称的记录仪": "Recorder by the name", "名称自称的人员": "Officer by the name",
  // sign-in
  "执证 · 乡镇执法证据平台": "Zhizheng · evidence of township law enforcement", "影像一入站，指纹先入册；封存之后，谁也改不了一个字节。": "Docked footage is in the log by its fingerprint first; once sealed, nobody changes a byte.",
  "谁看过、谁导出、用于哪个案件，每一步都有册页。": "Who saw it, who exported it, for which case: every step is a leaf of the log.", "证据包离线可验，不必相信本平台。": "A bundle is verified offline, without trusting this platform.",
  "登录": "Sign in", "正在用一次性链接登录…": "Signing in by the one-time link…", "用户名": "User name", "请输入用户名": "Enter your user name", "密码": "Password", "请输入密码": "Enter your password",
  "没有账号或忘记密码：请联系本县系统管理员。离开 30 分钟后须重新登录。": "No account, or the password is forgotten: ask the county's administrator. After 30 idle minutes you sign in again.",
  "设置密码": "Set a password", "现密码（由一次性链接进入的不必填）": "Current password (not needed after a one-time link)", "现密码": "Current password", "请输入现密码": "Enter your current password",
  "新密码（至少 12 位，不含用户名）": "New password (12 characters or more, without the user name)", "至少 12 位": "12 characters or more", "再输一次": "Once more", "两次输入不一致": "The two differ",

  // evidence
  "影像": "Footage", "文件 / 编号": "File / number", "判定": "Finding", "记录仪": "Recorder", "录制时间": "Recorded", "封存时间": "Sealed", "未关联": "None", "指纹已入册": "Fingerprint logged",
  "筛选后 {{n}} 条": "{{n}} records match", "已载入 {{n}} 条": "{{n}} records loaded", "打印目录": "Print list", "状态：全部": "Status: all", "判定：全部": "Finding: all", "影像待传": "Footage pending", "已封存": "Sealed", "校验不符": "Digest differs",
  "完好": "Sound", "截断": "Truncated", "损坏": "Damaged", "加密": "Encrypted", "非影像": "Not footage", "空文件": "Empty", "附属文件": "Sidecar", "未判定": "Unknown", "待判定": "To be looked at", "受限": "Restricted",
  "录制日期": "Date of recording", "录制起": "Recorded", "录制止": "to", "记录仪编号": "Recorder number", "文件名、编号": "File name, number", "排序：录制时间 新→旧": "Newest recording first",
  "没有符合筛选的证据": "No evidence matches", "放宽或清除筛选后再看。": "Widen or clear the filters.", "还没有证据": "No evidence yet",
  "把记录仪放回采集站，或在采集站电脑上运行 zhizheng-dock；指纹几秒内就会出现在这里。": "Put a recorder into its dock, or run zhizheng-dock at the station; fingerprints appear here within seconds.",
  "证据目录（已载入 {{n}} 条，{{time}} 打印）": "Evidence list ({{n}} records loaded, printed {{time}})", "打印本页": "Print this page", "下载原件（记入保管链）": "Download the original (goes into the custody log)",
  "更多操作": "More", "据此立案": "Open a case", "册页与回执": "Leaves and receipt", "存储核对": "Store check", "存储写入时逐片核对摘要": "digest of each part checked as it was written", "封存前重读全部字节": "all bytes read again before sealing",
  "关联": "Links", "保管链": "Chain of custody", "保管链，新的在前": "Chain of custody, newest first", "还有更新的记录，继续载入": "There are newer entries: load them", "查看案件": "See the case",
  "指纹已于 {{time}} 入册，影像还在采集站。到齐后自动核对、封存，本页会自己更新。": "Its fingerprint has been in the log since {{time}}; the footage is still at the station. It is checked and sealed when it arrives, and this page follows.",
  "正在读取影像信息": "Reading the media's facts", "这个文件不能作为影像播放": "This file can't be played as footage", "已封存；影像信息由后台读取，稍后自动出现。": "Sealed. The media's facts are being read and will appear here.", "文件已按原样封存，字节未变。": "The file is sealed as it came, not a byte changed.",
  "未登记的记录仪": "not registered", "清单没有写明": "not said in the manifest", "购置": "Bought", "采集站": "Docking station", "录制": "Recorded", "文件名时间": "Time in the file name", "影像自报位置": "Position (claimed)", "影像自报设备": "Device (claimed)",
  "指纹入册": "Fingerprint logged", "封存": "Sealed", "保全": "Legal hold", "未保全": "none", "保全中": "On hold", "保全排队中": "being set", "正在解除": "being lifted",
  "回执还没有好": "The receipt isn't ready", "存证点还没有盖到这一页，请稍后再取。": "No checkpoint covers this leaf yet. Try again in a moment.", "回执已下载；用 zhizheng-verify 离线可验": "Receipt saved; zhizheng-verify checks it offline", "等存证点…": "Waiting for the checkpoint…", "下载回执": "Receipt",
  "设置保全": "Legal hold set", "设置保全_act": "Set a legal hold", "设置保全…": "Set a legal hold…", "解除保全": "Legal hold lifted", "解除保全_act": "Lift the legal hold", "解除保全…": "Lift the legal hold…", "标记误录，限制查看": "Marked as recorded by mistake, restricted", "标记误录，限制查看_act": "Mark as recorded by mistake", "标记误录，限制查看…": "Mark as recorded by mistake…", "解除受限": "Lift the restriction", "解除受限…": "Lift the restriction…",
  "保全期间任何人都不能让它到期；由后台交存储锁定，完成后入册。": "Nothing under a hold may expire. The store is told to lock it; that it did is a leaf of its own.", "只限制查看，什么也不删除；理由记入保管链。": "It only restricts who may look; nothing is deleted. The reason goes into the custody log.", "理由记入保管链。": "The reason goes into the custody log.",

  // retention
  "留存": "Retention", "留存类别": "Category", "改类别…": "Change the category…", "改留存类别": "Change the category", "请选择类别": "Choose a category", "一般": "Ordinary", "案件证据": "Evidence in a case", "投诉、信访": "Complaint", "阻碍执法": "Obstruction", "重大或群体性事件": "Major or mass incident",
  "留存至": "Kept until", "永久": "for good", "自封存起计算": "counted from the sealing", "存储锁定至": "Locked at the store until", "延长已入册，等存储确认": "extended in the log, the store has yet to confirm", "录制结束": "Recording ended", "设备自报": "as the device claims",
  "迟传": "Uploaded late", "迟传 {{n}} 小时": "{{n}} h late", "只看迟传": "Late only", "录制结束 {{n}} 小时后才封存": "sealed {{n}} hours after the recording ended", "录制结束已 {{n}} 小时，影像还没到": "{{n}} hours since the recording ended, footage not here yet", "还没有说明原因": "no reason given yet", "说明迟传原因": "Why it was uploaded late", "说明迟传理由": "Reason for a late upload given",
  "留存只能延长，不能缩短：按适用过的最长类别保存。": "Retention only grows: the longest category that ever applied counts.", "说明入册，连同您的账号；以后可以再写，前一次仍在保管链上。": "The reason goes into the log with your account. You may write another; this one stays in the custody.", "再保存一个一般期限，由后台交存储锁定；理由入册。": "Kept for another ordinary term; the store is told to lock it, and the reason is a leaf.",
  "保留这份影像": "Keep this footage", "保留…": "Keep…", "到期清理": "End of retention", "留存期满的先公示，期间可以保留；之后销毁并出具凭证。从不为腾空间删除。": "What is over its retention is listed first and can be kept; then it is deleted, with a certificate. Nothing is deleted to make room.",
  "公示中": "Listed", "已销毁": "Deleted", "销毁时间": "Deleted at", "销毁不早于": "Deleted not before", "等存储确认": "the store has yet to confirm", "凭证": "Certificate", "销毁凭证": "Certificate of deletion", "下载销毁凭证": "Certificate", "留存期满，决定销毁": "Retention over, to be deleted", "留存期满，影像已销毁": "Retention over, footage deleted",
  "字节不在了；指纹、保管链和册页都还在，手头若有同一文件仍可与指纹比对。": "The bytes are gone. Fingerprint, custody and leaves are still here; a copy of the file can still be compared with them.",
  "还没有销毁过影像": "Nothing was deleted yet", "销毁的影像会列在这里，各有凭证。": "What is deleted is listed here, each with its certificate.", "没有到期的影像": "Nothing is over its retention", "永久留存、保全中和受限的影像不会到期；到期的会先在这里公示。": "What is kept for good, on hold or restricted never ends; what does is listed here first.",
  "存储": "Store", "从不为腾空间删除": "nothing is deleted to make room", "已证实：写入时逐片核对，封存不必重读": "attested: each part is checked as it is written", "不能证实：封存前重读全部字节": "can't attest: all bytes are read again before sealing", "不可信：对象锁没有守住": "not trusted: an object lock did not hold",
  "已用": "Kept", "剩余空间": "Free", "已满，拒绝新影像": "full, new footage is refused", "未知，可配置存储容量": "unknown; a capacity can be set", "每天增加": "A day", "近 14 天平均": "average of 14 days", "还可用": "Lasts", "{{n}} 天": "{{n}} days",

  // a device's own chain
  "设备链": "The device's own chain", "设备链：自己的密钥": "Chain of its own key", "设备链：由采集站担保": "Chain: a docking station vouches", "密钥已吊销": "key revoked", "已到齐": "Complete", "已说明": "Explained", "缺失": "Missing", "缺失 {{n}}": "Missing {{n}}", "曾缺 {{n}}": "{{n}} was missing",
  "计数 {{n}}": "counter {{n}}", "{{n}} 个计数已于 {{time}} 到齐": "all {{n}} counters arrived by {{time}}", "{{n}} 个计数从未到达": "{{n}} counters never arrived", "链的开头": "the chain's beginning", "之后尚无": "nothing after it yet", "与": "and", "之间": "(between)", "由签名链确认（非推断）": "shown by the signed chain, not inferred",
  "说明：{{r}}": "Reason: {{r}}", "改写说明…": "Change the reason…", "说明原因…": "Give a reason…", "说明已入册": "The reason is in the log", "说明缺失 {{n}}": "Reason for missing {{n}}", "说明不会填补缺失：影像仍然没有到达，说明连同您的账号成为一页，不能撤回。": "A reason fills nothing: the footage is still missing. It becomes a leaf with your account and can't be taken back.",
  "推断缺失": "Missing by inference", "推断缺失 {{n}}": "Missing by inference {{n}}", "只由文件名推断，不是证据": "inferred from file names only, no evidence", "只看文件名的编号；删除、改名都会造成，不作为报警": "By the numbers in file names only; deleting or renaming does it too, so it is no alarm",
  "已知签到第 {{n}} 份，没有签名状态；之后不得而知": "Signed up to no. {{n}}, no signed state; what came after is unknown", "{{time}} 签名收尾：共 {{n}} 份；之后不得而知": "Closed by its signature at {{time}} with {{n}}; what came after is unknown", "{{time}} 签名：共 {{n}} 份；之后不得而知": "Stated at {{time}}: {{n}}; what came after is unknown",
  "已到达": "Arrived", "{{n}} 份清单": "{{n}} manifests", "计数": "Counter", "还没有清单": "No manifests yet", "{{g}} 段，共 {{n}} 个计数": "{{g}} gaps, {{n}} counters", "没有缺失": "Nothing missing", "本设备的影像之间没有缺失": "Nothing missing between this device's clips", "链的末尾": "End of the chain", "启动纪元": "Boot epochs", "{{n}} 个：计数曾重新开始": "{{n}}: the counter began anew",
  "异常，各入一页": "Anomalies, a leaf each", "异常": "Anomaly", "签名状态（最近 {{n}} 份）": "Signed states (latest {{n}})", "签署": "Signed", "收尾": "closing", "定时": "regular", "还没有签名清单": "No signed manifests yet", "这台设备的影像归站后，这里会列出哪些计数已到、哪些从未到达。": "Once this device's footage is docked, this lists which counters arrived and which never did.",
  "{{time}} 的指纹，影像还没到": "Fingerprint of {{time}}, footage not yet here", "是否齐全": "Completeness", "记录仪自己的密钥": "the recorder's own key", "采集站 {{s}} 担保": "station {{s}} vouches", "前一段": "Clip before", "后一段": "Clip after", "计数 {{n}} 已到": "Counter {{n}} is here", "签署时间范围": "Signed between", "不早于 {{time}}": "Not before {{time}}", "不晚于 {{time}}": "Not after {{time}}", "清单没有写明见过的存证点，下限不明": "The manifest names no known checkpoint: no lower bound",

  // digests
  "复制 SM3": "Copy SM3", "复核": "Read again", "已复核": "Verified", "摘要为设备声明，尚未复核": "The digests are the device's claim, not verified yet", "上次一致：{{time}}": "Last whole: {{time}}", "从未一致": "Never whole",
  "重读的字节与封存时的摘要不一致": "the bytes read again differ from what was sealed", "存储中的字节比封存时少": "the store holds fewer bytes than were sealed", "存储中的字节比封存时多": "the store holds more bytes than were sealed",
  "存储中已没有封存的这份影像": "the store no longer has what was sealed", "记录上的摘要与证据册中封存时的不一致": "the record's digests are not those in the log", "这份影像已损坏：{{why}}": "This footage is damaged: {{why}}",
  "已入册并告警。请从采集站、记录仪或备份取回原件；重读一致后自动恢复。": "Logged and alarmed. Fetch the original from the station, the recorder or a backup; once it reads whole again this ends by itself.",
  "摘要": "Digests", "在本机校验": "Verify here", "校验手头文件": "Verify a file", "复制 SHA-256": "Copy SHA-256", "分片合成": "Composite", "校验进度": "Progress", "平台上的封存原件": "the sealed original",
  "正在本机计算：{{what}}，{{done}} / {{total}}": "Hashing on this machine: {{what}}, {{done}} / {{total}}", "一致：{{what}}的摘要与册中指纹相同（{{size}}，{{s}} 秒，在本机算出）": "Agrees: {{what}} has the digest that is in the log ({{size}}, {{s}} s, computed here)",
  "不一致：{{what}}不是这份原件，或已被改动": "Differs: {{what}} is not this original, or was changed", "影像还没到：指纹已入册，影像到后自动核对并封存。手头文件现在就可以校验。": "The footage hasn't arrived: its fingerprint is in the log. A file at hand can be verified now.",
  "本机校验未能启动": "The check didn't start", "浏览器未能运行校验程序。": "The browser couldn't run the hashing program.", "刷新页面，或改用离线校验工具 zhizheng-verify": "reload the page, or use the offline verifier zhizheng-verify", "读取中断": "Reading broke off",

  // player
  "影像 {{name}}": "Footage {{name}}", "播放；查看将记入保管链": "Play; the view goes into the custody log", "播放（查看记入保管链）": "Play (goes into the custody log)", "浏览器不能播放这个文件。": "This browser can't play the file.", "浏览器不能播放这个文件（{{codec}}）。": "This browser can't play the file ({{codec}}).",
  "浏览器能读出这个文件，但不能解码画面（{{codec}}）。": "The browser reads the file but can't decode its picture ({{codec}}).", "读取中断：服务器没有给出影像内容。": "Reading broke off: the server didn't send the footage.", "原件没有问题时，可下载后用专用播放器打开；摘要见右侧。": "The original may be sound: download it and use another player. Its digest is beside this.",
  "先播放到要截图的画面": "Play to the picture first", "截图已保存到本机；截图不是原件，原件未变": "Still saved on this machine; it is no original, the original is unchanged", "浏览器不允许全屏": "The browser refuses full screen",
  "帧 {{n}}": "frame {{n}}", "已确认": "confirmed", "播放速度": "Speed", "按键说明": "Keys", "播放位置": "Position", "选段 {{from}} – {{to}}": "Range {{from}} – {{to}}", "清除选段": "Clear the range", "删除标记 {{at}}": "Remove marker {{at}}",
  "标记只在链接里，复制链接即可交给别人；原件不变。": "Markers live in the link: copy it to hand them on. The original is unchanged.",
  "空格": "Space", "播放 / 暂停": "Play / pause", "上一帧": "Frame back", "下一帧": "Frame on", "后退 1 秒": "Back 1 s", "前进 1 秒": "On 1 s", "后退 10 秒": "Back 10 s", "前进 10 秒": "On 10 s", "减速，再按倒退": "Slower, then back", "暂停，速度复原": "Pause, normal speed",
  "播放，再按加速": "Play, then faster", "选段起点": "Range starts", "选段止点": "Range ends", "在此做标记": "Marker here", "上一标记": "Marker before", "下一标记": "Next marker", "到开头": "To the start", "到结尾": "To the end", "截图": "Still picture", "全屏": "Full screen", "静音 / 开声": "Sound on / off",

  // cases
  "案号": "Case number", "案由": "Title", "方式": "Mode", "进度": "Stage", "期限": "Due", "立案日期": "Filed on", "进度：全部": "Stage: all", "在办": "Open", "已结": "Closed", "逾期 {{n}} 天": "{{n}} days late", "剩 {{n}} 天": "{{n}} days left",
  "没有符合筛选的案件": "No case matches", "还没有案件": "No cases yet", "立案需要一项本乡镇有效的权力事项和两名持证执法人员。": "A case needs a power item in force for the township and two certified officers.",
  "立案": "Filed", "立案_act": "File a case", "立案登记": "Filing", "请选择乡镇": "Choose a township", "先选乡镇": "Choose a township first", "只有在行为当日对本乡镇有效的事项才能立案（R01）。": "Only an item in force for the township on the day of the act can be filed (R01).", "请选择权力事项": "Choose a power item", "选择事项": "Choose an item", "已收回或未生效": "taken back or not in force",
  "执法人员（两名以上）": "Officers (two or more)", "须有两名以上证件当日有效的执法人员（R02）。": "Two or more officers whose certificates are valid on the day (R02).", "请选择执法人员": "Choose officers", "选择执法人员": "Choose officers", "证件无效": "Certificate not valid",
  "行为发生日期": "Day of the act", "地点": "Place", "简要情况": "In short", "证据 {{id}} 的证明目的": "What evidence {{id}} is to prove", "查看这份证据": "See this evidence", "例：当事人在河道内堆放砂石的现场全貌": "e.g. the whole scene of gravel piled up in the river bed",
  "调查取证": "Investigation", "法制审核": "Legal review", "告知": "Notice", "处罚决定": "Decision", "执行": "Execution", "结案": "Closed", "承办": "handled by", "打印卷宗目录": "Print file list", "导出证据包": "Bundle exported", "导出证据包_act": "Export bundle",
  "证据包开始下载；导出记入每份证据的保管链": "The download begins; the export goes into each item's custody log", "案件还没有证据": "The case has no evidence yet", "从证据库添加，并写明每件证据的证明目的。": "Add it from the library, and say what each item is to prove.", "文件与证明目的": "File and purpose", "证明目的：{{p}}": "To prove: {{p}}",
  "解除": "Unlink", "解除关联": "Unlink", "解除关联 {{name}}": "Unlink {{name}}", "证据本身不变，解除的理由记入保管链。": "The evidence itself stays as it is; the reason goes into the custody log.", "案情": "The case", "决定": "Decision", "罚款": "Fine", "下一步": "Next", "进入“{{name}}”": "To “{{name}}”", "承办人员": "Handlers", "执法证": "Certificate",
  "时间线": "Course", "有册页号的可验": "entries with a leaf can be verified", "决定内容": "Decision", "请写明决定": "Write down the decision", "罚款（元，没有可不填）": "Fine (yuan, if any)", "金额如 1200 或 1200.50": "An amount such as 1200 or 1200.50",
  "添加证据到 {{number}}": "Add evidence to {{number}}", "选择证据": "Choose evidence", "本乡镇没有符合的证据": "No evidence of this township matches", "已在本案": "in this case", "证明目的": "To prove",

  // devices
  "执法记录仪": "Recorder", "计算机": "Computer", "打印机": "Printer", "其他": "Other", "在线": "Online", "离线": "Offline", "不在线": "Not online", "从未报到": "Never reported", "空闲": "Idle", "录制中": "Recording", "在站": "Docked", "充电": "Charging", "打印中": "Printing", "上传中": "Uploading", "关机": "Off", "故障": "Fault",
  "型号": "Model", "持有人": "Holder", "连接": "Connection", "最近数据": "Last data", "最近归站": "Last dock", "最近上传": "Last upload", "电量": "Battery", "电量 · 存储": "Battery · storage", "存储已用": "Storage used", "已用 {{n}}%": "{{n}}% used", "实时": "Live", "实时中断，正在重连": "Live view lost, reconnecting", "连接中": "Connecting",
  "编号、持有人、型号": "Number, holder, model", "类型：全部": "Kind: all", "连接：全部": "Connection: all", "没有符合筛选的装备": "No device matches", "还没有装备": "No devices yet", "装备由购置记账或盘点登记后出现在这里。": "A device appears here once its purchase is posted or stock-taking registers it.",
  "它录的证据": "Its evidence", "现在": "Now", "购置与资金来源": "Purchase and funding", "资金来源": "Funding", "购置日期": "Bought on", "价格": "Price", "{{y}} 年记账": "Posting of {{y}}", "经费": "Budget", "{{town}} {{y}} 年执法经费": "{{town}}, budget of {{y}}", "不是用本乡镇执法经费购置的，因此没有记账。": "Not bought from this township's budget: there is no posting.",
  "登记": "Registry", "系统编号": "System number", "设备与采集站发来、但没有通过检查的报文": "What devices and stations sent and checks refused", "没有拒收的报文": "No message was refused", "这是正常的样子。": "This is what normal looks like.",

  // budget
  "{{y}} 年执法经费": "Budget of {{y}}", "{{town}} · {{y}} 年执法经费": "{{town}} · budget of {{y}}", "单位 万元 · 每年每乡镇 2–5 万元，公式见各乡镇": "in 10,000 yuan · 2 to 5 a township and year; each page shows its formula", "单位 万元": "in 10,000 yuan", "上一年": "Year before", "下一年": "Next year", "年度": "Year", "{{y}} 年还没有核定额度": "No allotment for {{y}}", "或不在您的乡镇范围内。": "Or the township is outside your scope.",
  "核定": "Allotted", "已付": "Spent", "可用": "Left", "各乡镇经费": "Budget by township", "执行进度": "Spent so far", "年初核定": "Allotment", "核定公式": "Formula", "万元": "× 10,000 yuan", "余额": "Balance", "已付 {{a}} + 可用 {{b}} = {{c}}": "spent {{a}} + left {{b}} = {{c}}", "按科目": "By account", "科目": "Account", "元": "yuan",
  "打印台账": "Print ledger", "记一笔": "New posting", "记账": "Posting", "记账_act": "Post", "摘要_memo": "What for", "只增不改，错账冲销": "append-only; mistakes are reversed", "{{y}} 年还没有记账": "Nothing posted in {{y}}", "分录": "Lines", "册页": "Leaf", "冲销另一笔": "reverses another", "已被冲销": "reversed", "等 {{n}} 台": "{{n}} in all",
  "冲销": "Reverse", "冲销 {{memo}}": "Reverse {{memo}}", "冲销：{{memo}}": "Reverse: {{memo}}", "原记账不改，另记一笔相反的分录。": "The posting stays; its opposite is posted.", "{{town}}：记一笔": "{{town}}: new posting", "{{y}} 年可用 {{n}} 万元。记账只增不改，每笔入册。": "{{n}} × 10,000 yuan left in {{y}}. Postings are append-only, each is a leaf.",
  "请写摘要": "Write what it is", "例：购执法记录仪 2 台": "e.g. two body-worn recorders bought", "所购装备（可不填）": "Devices bought (optional)", "请选择科目": "Choose an account", "第 {{n}} 行科目": "Account of line {{n}}", "贷": "Cr", "借": "Dr", "第 {{n}} 行金额（元）": "Amount of line {{n}} (yuan)", "删去第 {{n}} 行": "Remove line {{n}}", "加一行": "Add a line",
  "借方 {{a}} 元，贷方 {{b}} 元：": "Debit {{a}}, credit {{b}} yuan: ", "平": "balanced", "不平，还不能记账": "not balanced, can't be posted",

  // authority
  "有效期起": "Valid from", "有效期止": "Valid to", "今日可否办案": "May act today", "证件有效": "Certificate valid", "已载入 {{n}} 人": "{{n}} loaded", "姓名、执法证号": "Name, certificate", "没有符合的执法人员": "No officer matches",
  "领域": "Field", "原主管部门": "Department", "起": "From", "止": "To", "今日": "Today", "有效": "In force", "无效": "Not in force", "未下放": "Not handed down", "本乡镇的事项": "the township's items", "全县目录；选一个乡镇看它的方式与起止": "The county's list; choose a township for mode and dates", "事项、法律、编号": "Item, law, number", "没有符合的权力事项": "No power item matches",

  // log
  "停签：{{why}}": "Stopped signing: {{why}}", "正常签署": "Signing", "下载公钥": "Download key", "下载存证点": "Download checkpoint", "最新存证点": "Latest checkpoint", "复制存证点": "Copy the checkpoint", "公钥": "Public key", "复制公钥": "Copy the key", "来源名": "Origin", "校验公钥": "Verifier key", "树根": "Root",
  "公钥要从平台以外的渠道核对。离线校验：": "Compare the key by a way that isn't this platform. To verify offline:", "证据包": "bundle", "还有 {{n}} 页等下一个存证点": "{{n}} wait for the next checkpoint", "全部已签": "all signed", "存证点": "Checkpoint",
  "已证实": "Attested", "封存前重读": "Re-read before sealing",
  "查一个文件": "Is this file in the log?", "只在本机计算摘要，文件不上传": "hashed on this machine, never uploaded", "把文件拖到这里": "Drop a file here", "选择文件": "Choose a file", "或粘贴 SHA-256": "or paste a SHA-256", "在册": "In the log", "不在册": "Not found", "{{s}} 秒": "{{s}} s",
  "您能看到的范围内没有这个摘要：内容已改动、另有来源或不在您的乡镇，不作判断。": "No such digest in what you may see: changed, from elsewhere, or another township's. No verdict beyond that.", "新的在前；只列种类、时间和散列，内容受各自权限保护": "newest first; kind, time and hash only", "按页码查找": "Find a leaf by its number", "页码": "Leaf number", "散列": "Hash", "更早的页": "Earlier leaves",

  // kinds of leaves
  "同一计数出现两份影像清单": "Two manifests for one counter", "同一影像以另一文件名出现": "The same bytes under another name", "封存入库": "Sealed", "复核：重读字节，摘要一致": "Read again, digests agree", "复核：重读字节，摘要不一致": "Read again, digests differ", "查看": "Viewed", "看到封面画面": "Poster seen", "下载": "Downloaded", "关联案件": "Linked to a case", "解除案件关联": "Unlinked from a case",
  "保全已由存储确认": "Hold confirmed by the store", "延长留存期限": "Retention extended", "开始上传影像": "Upload started", "办案环节推进": "Case moved on", "作出处罚决定，冻结证据": "Decided, evidence frozen", "导出案件证据包": "Case bundle exported", "核定额度": "Allotment set", "拒绝记账": "Posting refused",
  "设备密钥登记": "Device key enrolled", "设备密钥吊销": "Device key revoked", "权力事项下放": "Power item handed down", "权力事项收回": "Power item taken back", "设备签名状态": "Signed device state", "存储探测": "Store probed", "全册核验": "Log audited", "可信时间戳": "Trusted timestamp",
  "证据固定": "Evidence frozen", "处罚决定之后证据不再增减（R16）": "No evidence is added or taken out after the decision (R16)", "证据根与公钥指纹的二维码": "QR code of evidence root and key fingerprint", "证据根": "Evidence root", "公钥指纹": "Key fingerprint", "扫出的文字可与证据包核对：": "The scanned text can be checked against the bundle: ",
  "设备链异常": "Anomaly in a device's own chain", "截取片段": "A clip was made of it", "共享": "Shared", "留存期满删除": "Deleted at the end of retention",
  "向设备下达指令": "Command given to a device", "设备指令办结": "Command to a device ended",
  "已从记录仪清除原件": "Original removed from its recorder", "标注执法活动": "Labelled with its activity", "领用记录仪": "Recorder taken", "归还记录仪": "Recorder returned",
  "执法证变更": "Officer's certificate changed", "证据册密钥更换": "Log key changed", "见证方与门限变更": "Witnesses or their quorum changed", "锁定试探": "Lock trial",
  "影像重读核验": "Stored footage read again", "自证演练": "Self-proof drill", "删除册页内容": "Payloads of leaves erased", "证明": "Proof",
  "包含证明 {{n}} 步，存证点 {{size}} 页": "Inclusion proof of {{n}} steps in a tree of {{size}}", "等下一个存证点": "Waiting for the next checkpoint", "第 {{n}} 页": "Leaf {{n}}", "内容已依法删除，证明不受影响": "Payload erased by law, proofs are untouched",
  "主题链": "Subject's chain", "第 {{n}} 环": "link {{n}}", "前一环": "Link before", "承诺": "Commitment",
  "全册重算": "Whole log reckoned again", "影像重读": "Footage read again", "已暂停": "Paused", "进行中": "Under way",
  "根一致": "Root agrees", "摘要一致": "Digests agree", "全部识破": "All found", "{{n}} 处不符": "{{n}} findings",
  "没有结果": "No result", "中断": "Broke off", "{{n}} 页": "{{n}} leaves", "{{done}} / {{of}} 种": "{{done}} of {{of}} ways",
  "核验记录": "Audits", "每次的结果都是一页": "each result is a leaf", "重读影像": "Read footage again", "还没有核验记录": "No audits yet",
  "每天定时全册重算，影像封存后随即重读；也可以现在开始。": "The log is reckoned again every day, footage is read again soon after sealing; or start now.", "数量": "How much", "结果": "Result", "用时": "Took",
   "继续": "Go on", "暂停": "Pause", "对一个已锁定对象真做一次": "really tried on a locked object",
  "现在试": "Try now", "还没有试过": "Not tried yet", "守住": "Held", "没有守住": "Didn't hold",
  "上次 {{when}}": "last {{when}}", "在副本上改字节、删册页、换影像、重签证据包……看校验能否逐一指出。真册不动，结果入册。": "On a copy, bytes are changed, leaves taken out, footage exchanged, a bundle signed anew: do the checks name each? The log itself is not touched; the result becomes a leaf.", "演练进度": "Progress of the drill", "识破": "Found",
  "没有发现": "Not found", "结果全文，可打印": "Whole result, for printing", "再演练一次": "Drill again", "开始演练": "Start a drill",
  "警报": "Alarms", "{{n}} 条警报待处理": "{{n}} alarms to look at", "处理": "Answer", "处理警报": "Answer an alarm",
  "写明核查的结果和去向；警报和处理都会保留。": "Say what was found and what follows; alarm and answer both stay.", "处理说明": "What was done", "打印": "Print", "开始": "Began",
  "由": "By", "结论": "Outcome", "不符之处": "What doesn't hold", "共 {{n}} 处": "{{n}} in all",
  "位置": "Where", "逐项篡改与发现": "Each tampering and what found it", "过程": "Transcript", "做了什么": "What was done",
  "由何处发现": "Found by", "答复": "Answer given", "通过": "Passed", "没有通过": "Failed",
  "校验工具": "Verifier", "最近一次全册重算有 {{n}} 处不符": "The last audit has {{n}} findings", "完整": "Whole", "最近一次全册重算：{{when}}，根一致": "Last reckoned again {{when}}: root agrees",
  "最近全册重算": "Last whole audit", "每天定时进行": "every day", "封存后随即重读": "soon after sealing",
  "{{n}} 把签名密钥": "{{n}} signing keys", "{{gaps}} 处共 {{n}} 段从未到达": "{{n}} clips in {{gaps}} gaps never arrived", "没有缺失的计数": "No counter is missing", "按文件名编号推断": "inferred from numbers in file names",
  "锁定副本已到第 {{n}} 页": "Locked copy up to leaf {{n}}", "已导入": "Taken", "见证方": "Witnesses", "门限 {{need}} / {{of}}": "quorum {{need}} of {{of}}",
  "导入见证签名": "Take cosignatures", "没有配置见证方：日志是否只有一份，目前只能由持有旧存证点的人核对。": "No witness is configured: whether there is one log only can be told by those who keep an older checkpoint.", "够数，第 {{n}} 页为止": "Quorum met up to leaf {{n}}", "尚未达到门限": "Quorum not met yet",
  "还没有签过": "not signed yet", "导出给 {{name}} 的请求文件": "Request file for {{name}}", "已签": "Signed", "落后": "Behind",
  "联系不上": "Unreachable", "拒签": "Refused", "导出请求": "Request file", "导入时间戳": "Take a timestamp",
  "没有配置时间戳机构：册页的时间只是平台时钟的说法。": "No authority is configured: the leaves' times are the platform's own word.", "人工送签": "carried by hand", "还没有取得": "none yet", "逾期": "Late",
  "未取得": "Failed",
  "见证": "Witnessed", "够数": "Quorum met", "不够数": "Quorum not met", "未配置": "Not configured", "时间戳": "Timestamp",
};

/** Words of the server: roles, stages, modes, funding, accounts, titles of refusals. */
const words: Record<string, string> = {
  "同一计数有两份清单": "two manifests for one counter", "前后清单不相接": "a manifest doesn't continue the one before", "计数重新开始（新的启动纪元）": "counter began anew (a new boot epoch)", "旧的启动纪元又出现：身份可能被复制": "an old boot epoch came back: the identity may be copied", "时钟被调整": "clock was set", "时钟倒退": "clock went back", "设备时钟超前": "device clock is ahead", "签名状态的计数倒退": "a signed state counts less", "签名状态与清单不符": "a signed state contradicts a manifest",
  "案件审核": "Case reviewer", "装备管理": "Equipment manager", "财务": "Finance", "乡镇负责人": "Township head", "县领导": "County leader", "执法监督": "Supervisor", "档案管理": "Archivist", "系统管理": "Administrator",
  "不予处罚": "No penalty", "移送": "Transferred", "撤销立案": "Withdrawn", "关联证据": "Evidence linked", "解除证据关联": "Evidence unlinked",
  "法定": "Statutory", "赋权": "Delegated", "委托": "Entrusted",
  "其他装备": "Other equipment", "乡镇经费记账": "Township budget", "建账前存量": "Owned before the ledger", "县级配发": "Issued by the county", "专项资金": "Special funds", "接受捐赠": "Donated", "待补资金来源": "Funding to be supplied",
  "年度核定额度": "Yearly allotment", "执法记录仪购置": "Recorders bought", "采集站购置": "Docking stations bought", "计算机购置": "Computers bought", "打印机购置": "Printers bought", "其他执法装备购置": "Other equipment bought", "执法服装": "Uniforms", "装备维修": "Repairs", "耗材与印刷": "Supplies and printing",
  "业务培训": "Training", "网络与通信": "Network", "其他执法支出": "Other expense", "罚没收入（须全额上缴国库，不得入账）": "Fines (go to the treasury, never into this ledger)",
  "请求内容有误": "The request is wrong", "请先登录": "Sign in first", "没有这项权限": "Not permitted", "没有找到": "Not found", "与已有内容冲突": "Conflicts with what is there", "内容太大": "Too large", "依规定不能办理": "The rules refuse this", "服务暂时不可用": "Unavailable for the moment", "操作过于频繁": "Too many attempts", "存储空间已满": "The store is full", "已依规定销毁": "Deleted by the rules", "服务器内部错误": "Internal error",
  "改一行：改动一个册页的字节，并重算它的散列": "A row: a leaf's bytes changed, its hash recomputed", "改瓦片：改动树的一个中间散列": "A tile: a node of the tree changed", "删一页：抽掉一个册页，其后重新编号": "A leaf: one taken out, the rest numbered anew", "改内容：改动册页所承诺的内容": "A payload: what a leaf commits to changed",
  "换次序：把相邻两页对调": "Order: two neighbours exchanged", "抹掉一笔账：抽掉一条记账及其内容，其后重新编号": "A posting: its leaf and payload taken out, the rest numbered anew", "回滚备份：整册退回到较早的、自身一致的状态": "A rolled-back backup: the whole log as it was earlier, consistent in itself", "换影像：改动一份影像的一个字节": "An object: one byte of footage changed",
  "重签证据包：改动后用另一把密钥全部重新签署": "A bundle altered and signed anew by another key", "断链：证据包里漏掉保管链中间的一环": "A cut chain: a link of custody left out of the bundle",
  "截尾：证据包里略去保管链的末尾": "A cut tail: the end of a chain of custody left out of the bundle",
};

export const en: Record<string, string> = { ...texts, ...words };
export const serverWords = words;
