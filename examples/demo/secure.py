"""What ``make demo-secure`` runs: the secure mode, with everything that it refuses.

An authority that is thrown away, a NATS server that wants certificates, two services, and
operators with and without rights. Everything is a process of its own on a free loopback port,
and ends with this one. What a command shows is checked: the exit code is 0 when all of it is
as it should be, and 1 when something is not.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from pathlib import Path

from examples.demo.fleet import HERE
from examples.demo.securesite import FOREIGNER, FULL, NOBODY, READ_ONLY, SERVICES, Site, identity
from examples.demo.terminal import NotShown, Terminal

DENIED = "You are not authorized to call this agent or action."
FIRST = "shop1"
SUBJECT = f"shop_backplane.node.{identity(FIRST)}"


class Demo:
    """The steps, in their order."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder)
        self.terminal = Terminal(folder, self.site.environ)
        for script in ("wiretap.py", "auditlines.py"):
            shutil.copy(HERE / script, folder)

    def run(self) -> None:
        self.start()
        self.full()
        self.read_only()
        self.nobody()
        self.foreigner()
        self.replay()
        self.audit()

    def operate(
        self, name: str, command: str, *words: str, code: int = 0, without: tuple[str, ...] = ()
    ) -> str:
        """Run the command line as an operator, and look at what it shows."""
        command = f"MCOLLECTIVE_CERTNAME={name} backplane --config {name}.cfg {command}"
        return self.terminal.run(command, *words, code=code, without=without)

    def start(self) -> None:
        site, say = self.site, self.terminal.say
        say("A certificate authority, and certificates for services and operators")
        site.make_certificates()
        print(
            f"issued by Demo CA:  {', '.join(map(identity, SERVICES))},\n"
            f"                    {FULL}, {READ_ONLY}, {NOBODY}\n"
            f"issued by Other CA: {FOREIGNER}"
        )
        say("A broker that lets in who has a certificate of Demo CA")
        site.start_broker()
        print(f"started nats-server on {site.broker}, with TLS and verify: true")
        site.write_files()
        say("Services: who may do what stands in their configuration")
        self.terminal.show(f"{FIRST}.yaml")
        print()
        for service, dc in SERVICES.items():
            command = f"twistd -n --pidfile= backplane -c {service}.yaml"
            print(f"$ {command}    # {identity(service)} in {dc}")
            site.start_service(service)
        for service in SERVICES:
            site.wait_for(service, "ready:")

    def full(self) -> None:
        self.terminal.say(f"{FULL} has the role full: he may do everything")
        self.terminal.show(f"{FULL}.cfg")
        self.operate(FULL, "shop info --expect 2", "2 / 2", "Paused: false", "Paused: false")
        self.operate(FULL, "shop pause -F dc=DC1 --expect 1", "1 / 1", "Managed 1 service(s)")
        self.operate(FULL, f"shop info -I {identity(FIRST)}", identity(FIRST), "Paused: true")
        self.operate(FULL, "shop resume -F dc=DC1 --expect 1", "1 / 1", "Managed 1 service(s)")

    def read_only(self) -> None:
        self.terminal.say(f"{READ_ONLY} has the role read_only: he may look, and no more")
        self.operate(READ_ONLY, f"shop info -I {identity(FIRST)}", "1 / 1", "Paused: false")
        self.operate(READ_ONLY, "shop pause --expect 2", DENIED, DENIED, code=2)

    def nobody(self) -> None:
        self.terminal.say(f"{NOBODY} has a certificate of Demo CA and no role: not even a ping")
        self.operate(NOBODY, "shop ping --expect 2", DENIED, DENIED, code=2, without=("version",))

    def foreigner(self) -> None:
        self.terminal.say(
            f"{FOREIGNER} has a certificate of Other CA: the broker does not let him in"
        )
        text = self.operate(FOREIGNER, "shop info", "authority of our certificate", code=69)
        if len(text.splitlines()) != 1:
            raise NotShown("one line should say why")

    def replay(self) -> None:
        site, terminal = self.site, self.terminal
        terminal.say(f"{NOBODY} listens on the broker, and says again what {FULL} said")
        variable = f"MCOLLECTIVE_CERTNAME={NOBODY}"
        arguments = ("wiretap.py", f"{NOBODY}.cfg", "capture", SUBJECT, "pause.captured")
        print(f"\n$ {variable} python {' '.join(arguments)} &", flush=True)
        tap = site.start("wiretap", sys.executable, *arguments, MCOLLECTIVE_CERTNAME=NOBODY)
        site.wait_for("wiretap", "listening")
        one = f"-I {identity(FIRST)}"
        self.operate(FULL, f"shop pause {one}", "1 / 1", "Managed 1 service(s)")
        site.wait_for("wiretap", "captured")
        tap.wait(15)
        print(f"\n{site.log('wiretap').read_text().rstrip()}")
        self.operate(FULL, f"shop resume {one}", "1 / 1", "Managed 1 service(s)")
        terminal.run(
            f"{variable} python wiretap.py {NOBODY}.cfg replay {SUBJECT} pause.captured",
            f"pause, signed by choria={FULL}",
        )
        site.wait_for(FIRST, "message dropped, repeated")
        terminal.run(f"grep dropped {FIRST}.log", "message dropped, repeated", FULL)
        self.operate(FULL, f"shop info {one}", "Paused: false")

    def audit(self) -> None:
        terminal, log = self.terminal, f"{FIRST}.audit"
        terminal.say(
            "The audit log says who asked for what; each line is chained to the one before"
        )
        terminal.run(
            f"python auditlines.py {log}",
            *(f"choria={FULL}", "pause", "begin", "allow", "full", "end", "ok"),
            *(f"choria={READ_ONLY}", "deny", f"choria={NOBODY}", "deny"),
        )
        terminal.run(f"tail -n 1 {log}", '"previous"')
        terminal.run(f"backplane audit verify {log}", "lines: 14", "numbers 1 to 14")
        line = denial(self.site.folder / log)
        terminal.say(f"One byte of line {line} is altered, so that another was denied")
        terminal.run(f"sed '{line}s/{READ_ONLY}/2{READ_ONLY[1:]}/' {log} > altered.audit")
        terminal.run(
            "backplane audit verify altered.audit", f"altered.audit:{line}: edited", code=2
        )


def denial(path: Path) -> int:
    """Return the number of the first line of an audit log about a denial."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if '"decision":"deny"' in line:
            return number
    raise NotShown("a denial should be in the audit log")


def main() -> int:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="backplane-demo-") as folder:
        demo = Demo(Path(folder))
        try:
            demo.run()
        except NotShown as error:
            print(f"\nnot as it should be: {error}", flush=True)
            code = 1
        except KeyboardInterrupt:
            print("\ninterrupted")
            code = 130
        else:
            code = 0
        finally:
            demo.site.stop()
    print("\nstopped everything")
    return code


if __name__ == "__main__":
    sys.exit(main())
