# SPDX-License-Identifier: Apache-2.0
"""How mod_farmsync starts and supervises the agent: a small program stands in for it and tells."""

import json
import os
import pwd
import signal
import stat
import time

import pytest

from lone_httpd import USER, LoneHttpd, wait_for

STAND_IN = """#!/usr/bin/python3 -I
import json, os, signal, sys
def status(name):
    return next(l.split(":")[1].strip() for l in open("/proc/self/status") if l.startswith(name))
state = json.load(open(sys.argv[2]))["state_dir"]
told = dict(pid=os.getpid(), ppid=os.getppid(), argv=sys.argv, uid=os.geteuid(), gid=os.getegid(),
            groups=os.getgroups(), blocked=status("SigBlk"), ignored=status("SigIgn"),
            fds=sorted(os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd")
                       if os.path.exists("/proc/self/fd/" + fd)))
def write(line):
    with open(os.path.join(state, "told"), "a") as file:
        file.write(json.dumps(line) + "\\n")
def end(number, frame):
    write(dict(pid=os.getpid(), ended=number))
    os._exit(0)
signal.signal(signal.SIGTERM, end)
write(told)
print("the stand-in speaks", file=sys.stderr, flush=True)
if os.path.exists(os.path.join(state, "fail")):
    sys.exit(3)
while True:
    signal.pause()
"""


class Supervised(LoneHttpd):
    def __init__(self, mpm, settings):
        super().__init__(mpm, settings=settings)
        self.agent = self.path("farmsync-agent")
        self.write("farmsync-agent", STAND_IN, 0o755)
        self.write("my.cnf", "[farmsync]\n", 0o600)
        self.write("farm.key", "k1 " + "00" * 32 + "\n", 0o600)
        self.configure()

    def write(self, name, text, mode=0o644):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path(name), mode)

    def told(self):
        try:
            with open(os.path.join(self.state, "told"), encoding="utf-8") as file:
                return [json.loads(line) for line in file if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def started(self):
        return [told for told in self.told() if "argv" in told]

    def ended(self):
        return [told["pid"] for told in self.told() if "ended" in told]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


SETTINGS = """
FarmSyncDatabase "{0}/my.cnf"
FarmSyncDataServer http://127.0.0.1:1 https://ds2.example:4470
FarmSyncKeyFile "{0}/farm.key"
FarmSyncGroup default other
FarmSyncAgentPoll 2s
FarmSyncAgentLogLevel debug
"""


@pytest.fixture(params=["event", "prefork"])
def server(request):
    server = Supervised(request.param, "")
    server.settings = SETTINGS.format(server.directory)
    server.configure()
    server.start()
    wait_for(server.started, "the agent")
    yield server
    for told in server.started():
        if alive(told["pid"]):
            os.kill(told["pid"], signal.SIGKILL)
    server.remove()


def test_agent_runs_as_httpd_user_with_nothing_inherited(server):
    told = server.started()[0]
    assert len(server.started()) == 1, "started once, though the configuration is read twice"
    assert told["ppid"] == server.process.pid
    assert told["argv"] == [server.agent, "--config", os.path.join(server.state, "agent.json")]
    if USER:
        entry = pwd.getpwnam(USER)
        assert (told["uid"], told["gid"]) == (entry.pw_uid, entry.pw_gid)
        assert 0 not in told["groups"]
    assert int(told["blocked"], 16) == 0
    # python itself ignores SIGPIPE and SIGXFSZ
    assert int(told["ignored"], 16) & ~(1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1) == 0
    assert set(told["fds"]) <= {"/dev/null", server.path("error.log"),
                                f"/proc/{told['pid']}/fd"}
    wait_for(lambda: "the stand-in speaks" in server.log(), "its words in the error log")


def test_configuration_is_written_for_httpd_user_only(server):
    path = os.path.join(server.state, "agent.json")
    with open(path, encoding="utf-8") as file:
        written = json.load(file)
    expected = {
        "server": "web1", "address": f"127.0.0.1:{server.port}", "state_dir": server.state,
        "groups": ["default", "other"], "database": server.path("my.cnf"),
        "data_servers": ["http://127.0.0.1:1", "https://ds2.example:4470"],
        "key_file": server.path("farm.key"), "ca_file": None, "cert_file": None,
        "listen": None, "advertise": None, "peers": [], "suspect_ms": 3000, "dead_ms": 10000,
        "outage_s": 7 * 86400,
        "log_level": "debug", "poll_ms": 2000}
    assert {name: written[name] for name in expected} == expected
    info = os.stat(path)
    assert stat.S_IMODE(info.st_mode) == 0o640
    if USER:
        assert info.st_uid == pwd.getpwnam(USER).pw_uid
        assert os.stat(os.path.join(server.state, "images")).st_uid == info.st_uid


def test_agent_that_died_is_started_again_and_a_failing_one_ever_later(server):
    first = server.started()[0]["pid"]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(server.started()) == 2, "the second agent")
    assert "signal 9" in server.log()
    with open(os.path.join(server.state, "fail"), "w", encoding="utf-8"):
        pass
    begin = time.monotonic()
    os.kill(server.started()[1]["pid"], signal.SIGTERM)
    wait_for(lambda: len(server.started()) >= 5, "three more")
    # 200, 400 and 800 ms: each failure doubles the wait
    assert time.monotonic() - begin >= 1.4
    assert "exit status or signal 3" in server.log()
    os.unlink(os.path.join(server.state, "fail"))
    wait_for(lambda: alive(server.started()[-1]["pid"]) and len(server.started()) >= 6, "a good one")
    assert server.answers()


def test_graceful_starts_a_new_agent_and_leaves_the_old_one(server):
    first = server.started()[0]["pid"]
    server.settings = server.settings.replace("FarmSyncAgentPoll 2s", "FarmSyncAgentPoll 500")
    server.configure()
    server.graceful()
    wait_for(lambda: len(server.started()) == 2, "the new agent")
    with open(os.path.join(server.state, "agent.json"), encoding="utf-8") as file:
        assert json.load(file)["poll_ms"] == 500
    assert alive(first) and not server.ended(), "the new one ends the old one, not httpd"
    os.kill(first, signal.SIGTERM)  # as the new one does when it takes over
    wait_for(lambda: not alive(first), "the old one's end")
    wait_for(lambda: not os.path.exists(f"/proc/{first}"), "the parent to reap it")
    os.kill(server.started()[1]["pid"], signal.SIGKILL)
    wait_for(lambda: len(server.started()) == 3, "its successor")
    assert "long lost child" not in server.log()
    assert len(server.started()) == 3, "the old one's death starts nothing"


def test_agent_is_told_to_end_when_it_is_configured_away(server):
    server.agent = "none"
    server.configure()
    server.graceful()
    pid = server.started()[0]["pid"]
    wait_for(lambda: server.ended() == [pid], "the agent's end")
    server.graceful()
    assert len(server.started()) == 1


def test_agent_ends_with_httpd(server):
    pid = server.started()[0]["pid"]
    server.graceful()
    wait_for(lambda: len(server.started()) == 2, "the new agent")
    new = server.started()[1]["pid"]
    server.stop()
    wait_for(lambda: set(server.ended()) == {pid, new}, "both agents to be told")
    assert not alive(new) or not wait_for(lambda: not alive(new), "the agent's end")


def test_children_hold_the_lock_and_the_agent_does_not(server):
    """The lock is free exactly when the last child is gone, also after kill -9 of everything."""
    path = os.path.join(server.state, "children.lock")
    inode = os.stat(path).st_ino

    def holders():
        with open("/proc/locks", encoding="utf-8") as file:
            return [line.split() for line in file if line.split()[5].endswith(f":{inode}")]
    wait_for(holders, "the children's locks")
    assert all(lock[1] == "FLOCK" and lock[3] == "READ" for lock in holders())
    agent = server.started()[0]["pid"]
    children = server.children() - {agent}
    assert {int(lock[4]) for lock in holders()} <= children
    server.process.kill()
    server.process.wait()
    for child in children:
        if alive(child):
            os.kill(child, signal.SIGKILL)
    wait_for(lambda: not holders(), "the locks to go with the last child")
    assert alive(agent), "this stand-in doesn't look at the lock: it holds nothing itself"


@pytest.mark.parametrize("mpm", ["event"])
def test_without_a_source_nothing_is_started_and_httpd_runs(mpm):
    server = Supervised(mpm, "")
    try:
        server.start()
        wait_for(lambda: "FS0653" in server.log(), "the notice")
        assert not server.started()
        assert server.get("/farmsync/data").status == 503
        assert server.get("/farmsync/status/health").status == 503
        assert "farmsync-agent been started" in server.get("/farmsync/status/health").text
    finally:
        server.remove()


def test_state_directory_that_cannot_be_used_is_told():
    server = Supervised("event", "")
    server.settings = SETTINGS.format(server.directory)
    with open(server.path("plain"), "w", encoding="utf-8"):
        pass
    server.state = server.path("plain")
    server.configure()
    try:
        server.start()
        wait_for(lambda: "FS0650" in server.log(), "the reason")
        assert server.path("plain") in server.log()
        assert server.get("/farmsync/data").status == 503
    finally:
        server.remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="root may enter every directory")
def test_state_directory_that_httpd_user_cannot_enter_is_told():
    """Root makes it, but the agent and the children are others."""
    server = Supervised("event", "")
    server.settings = SETTINGS.format(server.directory)
    os.mkdir(server.path("closed"), 0o700)
    server.state = server.path("closed", "state")
    server.configure()
    try:
        server.start()
        wait_for(lambda: "FS0650" in server.log(), "the reason")
        assert server.state in server.log() and "FarmSyncStateDir" in server.log()
        assert server.get("/farmsync/data").status == 503
    finally:
        server.remove()


# --- what configtest finds -----------------------------------------------------------------------

@pytest.mark.parametrize("line, number, remedy", [
    ("FarmSyncServer 'two words'", "FS0660", "no other server of the farm"),
    ("FarmSyncServer ../x", "FS0660", "letters"),
    ("FarmSyncServer " + "x" * 65, "FS0660", "1 to 64"),
    ("FarmSyncStateDir " + "x" * 600, "FS0661", "local disk"),
    ("FarmSyncCAFile /nonexistent.pem", "FS0662", "make it, or correct the path"),
    ("FarmSyncCertificateFile /nonexistent.pem", "FS0662", "make it, or correct the path"),
    ("FarmSyncCertificateFile /etc/hostname", "FS0669", "add one, or take it out"),
    ("FarmSyncListen 4480", "FS1460", "give host:port"),
    ("FarmSyncListen 10.0.0.1:4480", "FS1462", "needs FarmSyncKeyFile"),
    ("FarmSyncPeer 10.0.0.2", "FS1461", "FarmSyncListen"),
    ("FarmSyncPeer 10.0.0.2:4480", "FS1463", "of no use without FarmSyncListen"),
    ("FarmSyncPeerTimeout 5s 3s", "FS1464", "after what longer one"),
    ("FarmSyncLongestOutage 0", "FS1465", "give 1 to 366 days"),
    ("FarmSyncDataServer " + " ".join(f"http://d{i}" for i in range(65)), "FS0663", "at most 64"),
    ("FarmSyncGroup ../x", "FS0664", "letters"),
    ("FarmSyncVersionHeader maybe", "FarmSyncVersionHeader", "must be On or Off"),
    ("FarmSyncAgent a b", "FarmSyncAgent", "takes one argument, path of farmsync-agent, or none"),
    ("FarmSyncDatabase /nonexistent/my.cnf", "FS0662", "make it, or correct the path"),
    ("FarmSyncKeyFile /", "FS0662", "not a file"),
    ("FarmSyncDataServer ds1:4470", "FS0663", "http://host:port"),
    ("FarmSyncDataServer http://u:p@ds1", "FS0663", "http://host:port"),
    ("FarmSyncGroup a b a", "FS0664", "twice"),
    ("FarmSyncGroup " + " ".join(f"g{i}" for i in range(17)), "FS0664", "16 groups"),
    ("FarmSyncAgentLogLevel loud", "FS0665", "error, warning, notice"),
    ("FarmSyncAgentPoll 1ms", "FS0666", "20 to 60000"),
    ("FarmSyncAgentPoll soon", "FS0666", "500ms"),
    ("FarmSyncOnStale maybe", "FS0667", "serve or refuse"),
    ("FarmSyncDataServer http://ds1:4470", "FS0668", "FarmSyncKeyFile"),
    ("<VirtualHost *:1>\nFarmSyncGroup a\n</VirtualHost>", "FarmSyncGroup", "VirtualHost"),
    ("<Location /x>\nFarmSyncServer a\n</Location>", "FarmSyncServer", "not allowed in"),
])
def test_configtest_finds_errors_and_names_the_remedy(line, number, remedy):
    server = LoneHttpd("event", settings=line)
    try:
        status, said = server.run("-t")
        assert status != 0 and number in said and remedy in said, said
    finally:
        server.remove()


def test_mod_proxy_cluster_GH_329_lists_mean_the_same_however_they_are_given():
    """On one line or on many, with others between."""
    many = {"FarmSyncPeer": ("10.0.0.2:4480", "10.0.0.3:4480"), "FarmSyncDataServer": ("http://d1", "http://d2")}
    first = "\n".join(f"{name} {' '.join(values)}" for name, values in many.items())
    second = "\n".join(f"{name} {values[number]}" for number in range(2) for name, values in many.items())
    server = LoneHttpd("event")
    with open(server.path("farm.key"), "w", encoding="ascii") as file:
        file.write("k1 " + "7" * 64 + "\n")
    os.chmod(server.path("farm.key"), 0o600)
    try:
        said = []
        for lines in (first, second):
            server.settings = "FarmSyncKeyFile farm.key\nFarmSyncListen 10.0.0.1:4480\n" + lines
            server.configure()
            status, dump = server.run("-DDUMP_FARMSYNC", "-t")
            assert status == 0, dump
            said.append([line for line in dump.splitlines() if any(name in line for name in many)])
        assert said[0] == said[1] and all(value in str(said[0]) for values in many.values() for value in values)
    finally:
        server.remove()


DIRECTIVES = {  # and whether it is of the whole server
    "FarmSyncServer": True, "FarmSyncStateDir": True, "FarmSyncDatabase": True, "FarmSyncDataServer": True,
    "FarmSyncKeyFile": True, "FarmSyncCAFile": True, "FarmSyncCertificateFile": True, "FarmSyncGroup": True,
    "FarmSyncListen": True, "FarmSyncPeer": True, "FarmSyncPeerTimeout": True,
    "FarmSyncLongestOutage": True,
    "FarmSyncAgent": True, "FarmSyncAgentLogLevel": True, "FarmSyncAgentPoll": True,
    "FarmSyncCapacity": True, "FarmSyncBounces": True, "FarmSyncSlack": True, "FarmSyncBusy": True,
    "FarmSyncRouteFull": True, "FarmSyncRouteAssign": True, "FarmSyncRouteURL": True, "FarmSyncRack": True,
    "FarmSyncRouteIdle": True, "FarmSyncRouteReturn": True, "FarmSyncRouteRamp": True,
    "FarmSyncAlternateSync": True, "FarmSyncAgentCheck": True, "FarmSyncReuseStore": True,
    "FarmSyncMonitor": True, "FarmSyncMonitorShare": True,
    "FarmSyncOnStale": False, "FarmSyncVersionHeader": False, "FarmSyncRoute": False, "FarmSyncRouteBy": False,
    "FarmSyncRouteCookie": False, "FarmSyncRouteVisitor": False, "FarmSyncReuse": False,
    "FarmSyncReuseLimit": False, "FarmSyncReuseMirror": False, "FarmSyncReuseWait": False}


def test_every_directive_is_refused_without_an_argument_and_where_it_does_not_belong():
    server = LoneHttpd("event")
    try:
        for name, whole in DIRECTIVES.items():
            places = [f"{name}"]
            if whole:
                places += [f"<VirtualHost *:1>\n{name} 1\n</VirtualHost>", f"<Location />\n{name} 1\n</Location>"]
            for place in places:
                server.settings = place
                server.configure()
                status, said = server.run("-t")
                assert status != 0 and name in said, f"{place}: {said}"
    finally:
        server.remove()


@pytest.mark.parametrize("file, text, mode, number, remedy", [
    ("farm.key", "k1 xyz\n", 0o600, "FS020", "hex"),
    ("farm.key", "", 0o600, "FS020", "key"),
    ("farm.key", "k1 " + "00" * 32 + "\n", 0o644, "FS0202", "chmod 0640"),
    ("my.cnf", "[farmsync]\nhots=db\n", 0o600, "FS0302", "line 2: unknown option"),
    ("my.cnf", "[farmsync]\npassword=x\n", 0o604, "FS0303", "chmod 0640"),
])
def test_configtest_reads_the_files_with_secrets(file, text, mode, number, remedy):
    """As the agent will; a server that is started (or reloaded without a look) goes on without one."""
    server = Supervised("event", "")
    server.settings = SETTINGS.format(server.directory)
    server.write(file, text, mode)
    server.configure()
    try:
        status, said = server.run("-t")
        assert status != 0 and number in said and remedy in said, said
        assert "00" * 32 not in said and "password=x" not in said
        server.start()
        assert server.get("/farmsync/data").status == 503
    finally:
        server.remove()


def test_configtest_finds_an_agent_that_is_not_there():
    server = Supervised("event", "")
    server.settings = SETTINGS.format(server.directory)
    os.unlink(server.agent)
    server.configure()
    try:
        status, said = server.run("-t")
        assert status != 0 and "FS0670" in said and server.agent in said
    finally:
        server.remove()


def test_dump_shows_the_settings_in_force_and_starts_nothing():
    server = Supervised("event", "")
    server.settings = SETTINGS.format(server.directory) + "FarmSyncOnStale refuse\n"
    server.configure()
    try:
        status, said = server.run("-t", "-D", "DUMP_FARMSYNC")
        assert status == 0, said
        for expected in ("FarmSyncServer           web1", "FarmSyncOnStale          refuse",
                         "FarmSyncGroup            default other",
                         "FarmSyncAgentPoll        2000 ms", "FarmSyncVersionHeader    Off"):
            assert expected in said, said
        assert "farmsync-agent been started" in said
        assert not server.started() and not os.path.exists(os.path.join(server.state, "agent.json"))
    finally:
        server.remove()


@pytest.mark.parametrize("mpm", ["event", "prefork"])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_agent_of_a_single_process_is_told_to_end(mpm, sent):
    """httpd -X leaves without httpd's own end; the stand-in doesn't look after its parent."""
    server = Supervised(mpm, "")
    server.settings = SETTINGS.format(server.directory)
    server.configure()
    try:
        server.start("-X")
        wait_for(server.started, "the agent")
        told = server.started()[0]
        assert told["ppid"] == server.process.pid
        server.process.send_signal(sent)
        server.process.wait(20)
        wait_for(lambda: told["pid"] in server.ended(), "the agent to be told")
        wait_for(lambda: not alive(told["pid"]), "its end")  # it writes that it was told, then goes
    finally:
        for told in server.started():
            if alive(told["pid"]):
                os.kill(told["pid"], signal.SIGKILL)
        server.remove()
