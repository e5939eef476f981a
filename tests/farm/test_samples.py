# SPDX-License-Identifier: Apache-2.0
"""The samples that are installed are taken by the programs they are for, also with every line in use."""

import os
import re
import subprocess

import pytest

from farmlib import paths

SAMPLE = os.path.join(paths.REPO, "mod_farmsync", "farmsync.conf.sample")
NEEDED = ("mpm_event", "authz_core", "authz_host", "headers", "rewrite")


def configuration(directory, text):
    """The sample as an administrator would adapt it: only places differ. A check binds no port."""
    for name, content in (("my.cnf", "[farmsync]\nhost=127.0.0.1\nuser=web\npassword=x\n"),
                          ("farm.key", "k1 " + "ab" * 32 + "\n"), ("down.html", "<p>down</p>"), ("ca.pem", ""), ("www1.pem", "")):
        path = directory / name
        path.write_text(content)
        path.chmod(0o640)
    text = text.replace("modules/mod_farmsync.so", paths.built("mod_farmsync/mod_farmsync.so"))
    text = text.replace("modules/mod_session_farmsync.so", paths.built("mod_farmsync/mod_session_farmsync.so"))
    text = text.replace("modules/mod_session.so", f"{paths.httpd_modules()}/mod_session.so")
    text = text.replace("/etc/farmsync/", f"{directory}/").replace("/var/lib/farmsync", f"{directory}/state")
    text = text.replace("/usr/libexec/farmsync-agent", paths.built("farmsync-agent"))
    loads = [f'LoadModule {name}_module "{paths.httpd_modules()}/mod_{name}.so"' for name in NEEDED]
    loads += [f'LoadModule {name}_module "{paths.httpd_modules()}/mod_{name}.so"' for name in ("proxy", "proxy_http")]
    loads.append(f'LoadModule proxy_farmsync_module "{paths.built("mod_farmsync/mod_proxy_farmsync.so")}"')
    (directory / "httpd.conf").write_text("\n".join(
        [f'ServerRoot "{directory}"', "ServerName 127.0.0.1", "Listen 127.0.0.1:8080", f'DefaultRuntimeDir "{directory}"',
         "ErrorLog error.log", *loads, text]))


@pytest.mark.parametrize("whole", [False, True], ids=["as it is", "every line in use"])
def test_sample_of_the_web_server_is_taken(tmp_path, whole):
    with open(SAMPLE, encoding="utf-8") as file:
        text = file.read()
    # The agent isn't where an installation would have put it.
    used = "FarmSync|Session|LoadModule session|Header|RewriteMap" if whole else "FarmSyncAgent "
    text = re.sub(f"^#(?={used})", "", text, flags=re.MULTILINE)
    configuration(tmp_path, text)
    done = subprocess.run([paths.program("apache2", "httpd"), "-d", str(tmp_path), "-f", str(tmp_path / "httpd.conf"), "-t"],
                          text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0 and "Syntax OK" in done.stderr, done.stderr
    assert "FS0" not in done.stderr + done.stdout
