"""The Normal traffic of the lab capture, one `Activity` a row; `activity` explains how commands are written."""

from __future__ import annotations

from .activity import ICMP, WEB, Activity

_SSH = "ssh -F {dir}/ssh_config"
# As a person at a keyboard logs in: with a password and without a key.
_SSH_PASSWORD = _SSH + " -o PubkeyAuthentication=no -o NumberOfPasswordPrompts=1 {user}@{server}"
_DIG = "dig +tries=1 +time=2 @{server}"
_PAGE = f"{WEB}/page{{i[1-40]}}.html"
_SEARCH = f"{WEB}/app/search?q={{one[tea,mug,jam,oat,cup,salt,lamp]}}"
_CLOSE = "-H 'Connection: close'"

# Name, command, weight.
_ROWS = (
    ("page", f"curl -s {_PAGE}", 12),
    ("page with parts", f"curl -s {_PAGE} '{WEB}/part[1-{{i[2-5]}}].css'", 8),
    ("page, a connection for each part", f"curl -s {_CLOSE} {_PAGE} '{WEB}/part[1-{{i[2-6]}}].css'", 8),
    ("parallel parts", f"curl -s -Z --parallel-max {{i[2-5]}} '{WEB}/part[1-{{i[3-6]}}].css'", 4),
    ("pages, one after the other", f"curl -s {_CLOSE} {_PAGE} {_PAGE} {_PAGE} {_PAGE}", 6),
    (
        "reader",
        f"wget -q -O /dev/null --wait={{f[0.1-1.2]}} --random-wait {_PAGE} {_PAGE} {WEB}/part{{i[1-8]}}.css",
        4,
    ),
    ("download", f"curl -s --limit-rate {{i[60-900]}}k {WEB}/file{{i[1-6]}}.bin", 1),
    ("download, cut off", f"curl -s -m {{f[0.1-0.9]}} --limit-rate {{i[20-60]}}k {WEB}/file6.bin", 1),
    ("page over a slow line", f"curl -s -m 6 --limit-rate {{i[3-12]}}k {_PAGE}", 1),
    ("missing page", f"curl -s {WEB}/gone{{i[1-999]}}", 4),
    ("upload", f"head -c {{i[1-12]}}k {{dir}}/www/file6.bin | curl -s --data-binary @- {WEB}/form", 1),
    ("connection kept in hand", "sleep {f[0.3-4.0]} | curl -s telnet://{server}:80", 4),
    ("status page, polled", f"for s in {{beats}}; do curl -s {WEB}/part1.css; sleep $s; done", 2),
    ("search", f"curl -s {_SEARCH}", 6),
    ("searches", f"curl -s {_CLOSE} {_SEARCH} {_SEARCH}+{{word}} {_SEARCH}", 4),
    (
        "login to the application",
        f"curl -s -b '' {WEB}/app/login --next -s -L -d 'user={{user}}&password={{password}}' {WEB}/app/login",
        4,
    ),
    ("mistyped login", f"curl -s -d 'user={{user}}&password={{word}}' {WEB}/app/login", 2),
    ("guest book, read", f"curl -s {WEB}/app/guests", 4),
    (
        "guest book, written",
        "curl -s -d name={one[Ann,Bo,Cy,Di]} --data-urlencode 'text=Thank you for the {one[tea,jam,lamp]} {word}'"
        f" {WEB}/app/guests",
        4,
    ),
    (
        "page of a neighbour",
        f"curl -s {_CLOSE} http://{{peer}}/page{{i[1-40]}}.html http://{{peer}}/part{{i[1-8]}}.css",
        8,
    ),
    ("command on a neighbour", f"{_SSH} {{user}}@{{peer}} '{{one[uptime,id,df]}}'", 1),
    ("name", f"{_DIG} host{{i[1-300]}}.lab.test {{one[A,A,A,AAAA]}}", 20),
    (
        "names of a page",
        f"{_DIG} host{{i[1-300]}}.lab.test A host{{i[1-300]}}.lab.test AAAA cdn{{i[1-20]}}.lab.test A "
        "cdn{i[1-20]}.lab.test AAAA cdn{i[1-20]}.lab.test A lab.test MX",
        54,
    ),
    ("other records", f"{_DIG} lab.test {{one[MX,TXT,NS,SOA,SRV,ANY]}} -x {{server}}", 12),
    ("unknown name", f"{_DIG} typo{{i[1-9999]}}.lab.test typo{{i[1-9999]}}.invalid AAAA", 12),
    ("name over TCP", f"{_DIG} +tcp host{{i[1-300]}}.lab.test", 6),
    ("remote command", f"{_SSH} {{user}}@{{server}} '{{one[uptime,id,ls -l /usr,df,ls -l /etc]}}'", 1),
    (
        "remote shell",
        "(for x in {one[ls,id,pwd]} date 'ls -l /etc' {one[uptime,df]} exit; do sleep {f[0.1-0.9]}; echo $x; done)"
        f" | {_SSH} -tt {{user}}@{{server}}",
        1,
    ),
    ("copy from", f"{_SSH} {{user}}@{{server}} 'head -c {{i[2-14]}}k /dev/urandom'", 1),
    ("copy to", f"head -c {{i[2-14]}}k /dev/urandom | {_SSH} {{user}}@{{server}} 'cat > /dev/null'", 1),
    ("login by password", f"sshpass -p {{password}} {_SSH_PASSWORD} {{one[id,date]}}", 1),
    ("mistyped password", f"sshpass -p {{word}} {_SSH_PASSWORD} id", 1),
    ("file by FTP", "curl -s -u {user}:{password} ftp://{server}/file{i[1-4]}.bin", 1),
    ("listing by FTP", "curl -s -u {user}:{password} ftp://{server}/", 1),
    ("mistyped FTP password", "curl -s -u {user}:{word} ftp://{server}/", 1),
    ("wrong port", "curl -s -m 2 {one[http,ftp]}://{server}:{i[1025-9999]}/", 4),
    (
        "services that are not there",
        "for a in {server}:{one[25,110,143]} {server}:{one[443,993,8443]} {peer}:{one[445,139,631]}"
        " {peer}:{i[1025-9999]}; do curl -s -m 1 telnet://$a; done",
        8,
    ),
)
NORMAL = (
    *(Activity("Normal", name, command, None, None, weight) for name, command, weight in _ROWS),
    # Only from clients and only to servers. ICMP has no ports, so the hosts alone tell this ICMP from that of scans.
    Activity("Normal", "ping", "ping -c {i[1-4]} -i {f[0.2-0.6]} {server}", None, ICMP, 1, hosts="client"),
)
# Name and port. In the schedule the Normal rows come last and cover by port whatever no attack covers. So a row has the
# name of a service, such as "web", and not of an activity, such as "page".
SERVICES = (("DNS", 53), ("web", 80), ("web", 8080), ("SSH", 22), ("FTP", 21))
