# SPDX-License-Identifier: Apache-2.0
"""
The documentation is as good as the programs: what httpd is to be told, it takes, word for word; the tests that are named exist.
"""

import glob
import os
import re
import subprocess

import pytest

from farmlib import paths
from test_samples import configuration

DOC = os.path.join(paths.REPO, "doc")
DOCUMENTS = [os.path.join(paths.REPO, "README.md"), *sorted(glob.glob(os.path.join(DOC, "*.md")))]
DIRECTIVE = re.compile(r"^\s*(<|LoadModule|FarmSync[A-Z]|Session|SetHandler|Header |RewriteMap|ProxyPass|RemoteIP|LuaMap)", re.MULTILINE)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


# --- configuration


def blocks(text):
    """What stands in fences, or is indented by four after an empty line; each without its indent."""
    fenced = [match[3] for match in re.finditer(r"^( *)```(\w*)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
              if match[2] in ("", "apache")]
    rest = re.sub(r"^( *)```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"(?:\A|\n\n)((?: {4,}[^\n]*\n)+(?:\n*(?: {4,}[^\n]*\n)+)*)", rest)
    return [re.sub(rf"^ {{{len(one) - len(one.lstrip(' '))}}}", "", one, flags=re.MULTILINE) for one in fenced + indented]


def is_for_httpd(block):
    lines = [line for line in block.splitlines() if line.strip() and not line.strip().startswith("#")]
    return bool(lines) and all(DIRECTIVE.match(line) or re.match(r"^(</|\s+[A-Z])", line) for line in lines)


SNIPPETS = [pytest.param(block, id=f"{os.path.basename(path)}-{number}") for path in DOCUMENTS
            for number, block in enumerate(blocks(read(path)), 1) if is_for_httpd(block)]


# What a piece doesn't say itself, since another part of the document does.
AROUND = {"LoadModule farmsync_module": "modules/mod_farmsync.so",
          "FarmSyncAgent ": "/usr/libexec/farmsync-agent",
          "FarmSyncStateDir": "/var/lib/farmsync",
          "FarmSyncDatabase": "/etc/farmsync/my.cnf",
          "FarmSyncKeyFile": "/etc/farmsync/farm.key",
          "FarmSyncListen": "127.0.0.1:4480",
          "FarmSyncApplication": "shop /shop"}


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_httpd_takes_it_word_for_word(tmp_path, snippet):
    around = [f"{name} {value}" for name, value in AROUND.items() if name not in snippet]
    (tmp_path / "check-stock").touch(mode=0o755)
    configuration(tmp_path, "\n".join([*around, snippet]))
    done = subprocess.run([paths.program("apache2", "httpd"), "-d", str(tmp_path), "-f", str(tmp_path / "httpd.conf"), "-t"],
                          text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0 and "Syntax OK" in done.stderr, done.stderr
    assert "FS" not in re.sub(r"FarmSync\w*", "", done.stderr + done.stdout)


def test_the_pieces_are_found():
    found = {param.id.rpartition("-")[0] for param in SNIPPETS}
    assert {"README.md", "install.md", "configuration.md", "routing.md", "availability.md", "backplane.md",
            "session-module.md", "reuse.md"} <= found


# --- tests that are named


def named(text):
    """What is in backquotes in the second column of the tables of tests."""
    for section in re.findall(r"^## (?:What shows it|How it is tested)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL):
        for row in re.findall(r"^\|[^|\n]*\|([^\n]*)\|$", section, re.MULTILINE):
            yield from re.findall(r"`([^`]+)`", row)


@pytest.fixture(scope="module")
def known():
    text = "".join(read(path) for pattern in ("farm/test_*.py", "unit/test_*.c")
                   for path in glob.glob(os.path.join(paths.REPO, "tests", pattern)))
    return set(re.findall(r"(?:^def |START_TEST\()(?:test_)?(\w+)\(?", text, re.MULTILINE))


def exists(name, known):
    if name.startswith(("tests/", "scripts/")):
        path = os.path.join(paths.REPO, name.split()[0])
        return any(os.path.exists(path + end) for end in ("", ".c"))
    if name.endswith(".py"):
        return os.path.exists(os.path.join(paths.REPO, "tests", "farm", name))
    return not re.fullmatch(r"\w+_\w+", name) or name.isupper() or re.sub("^test_", "", name) in known


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if any(named(read(path)))], ids=os.path.basename)
def test_tests_that_are_named_exist(path, known):
    missing = [name for name in named(read(path)) if not exists(name, known)]
    assert not missing


def test_each_part_says_what_shows_it():
    with_tables = {os.path.basename(path) for path in DOCUMENTS if any(named(read(path)))}
    assert {"routing.md", "sessions.md", "availability.md", "backplane.md", "reuse.md"} <= with_tables


# --- references


def anchors(path):
    """As the places where Markdown is shown make them of headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", read(path), flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.replace("`", "")).strip().lower().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=os.path.basename)
def test_references_lead_somewhere(path):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", read(path)):
        other = os.path.normpath(os.path.join(os.path.dirname(path), target)) if target else path
        assert os.path.exists(other), f"{target} isn't there"
        assert not anchor or anchor in anchors(other), f"{target}#{anchor} isn't there"
