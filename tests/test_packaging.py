"""The distributions: what is in them, and that they work where the checkout is not."""

from __future__ import annotations

import atexit
import configparser
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from backplane import __version__

ROOT: Final = Path(__file__).resolve().parent.parent

LEFT_OUT: Final = shutil.ignore_patterns(
    *(".git", ".venv", "*.egg-info", "__pycache__", "build", "dist", "dropin.cache"),
    *("_trial_temp*", ".*_cache", ".hypothesis", "twistd.*"),
)
"""What a fresh checkout does not have."""

SHIPPED: Final = (
    "README.rst",
    "CHANGELOG.rst",
    "LICENSE",
    "Makefile",
    "pyproject.toml",
    "setup.py",
    "docs/index.rst",
    "examples/demo/app.yaml",
    "examples/site/web.py",
    "examples/testing/test_service.py",
    "tests/__main__.py",
    "tests/test_packaging.py",
    "tests/vectors/INDEX.md",
    "twisted/plugins/backplane_twistd.py",
    "backplane/py.typed",
)
"""Some of what the source distribution must have."""


def run(*command: str, cwd: Path, **environ: str) -> str:
    """Run a program without our environment; return its output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def packages() -> list[str]:
    """Return where this Python's packages are; a checkout on its path is not among them."""
    named = ("site-packages", "dist-packages")
    return [place for place in sys.path if Path(place).name in named]


class Distributions:
    """Wheel and source distribution, made once for all tests.

    :cvar folder: they are in ``dist``; ``source`` is the copy of the checkout they are made of.
    """

    folder: Path | None = None

    @classmethod
    def get(cls) -> tuple[Path, Path, Path]:
        """Return the wheel, the source distribution, and the source."""
        if cls.folder is None:
            folder = Path(tempfile.mkdtemp(prefix="backplane-dist-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            source = folder / "source"
            shutil.copytree(ROOT, source, ignore=LEFT_OUT, symlinks=True)
            made = str(folder / "dist")
            run(sys.executable, *["-m", "build", "--no-isolation", "--outdir"], made, cwd=source)
            cls.folder = folder
        (wheel,) = (cls.folder / "dist").glob("*.whl")
        (sdist,) = (cls.folder / "dist").glob("*.tar.gz")
        return wheel, sdist, cls.folder / "source"


class PackagingTests(SynchronousTestCase):
    """From the checkout to an installation."""

    def setUp(self) -> None:
        self.wheel, self.sdist, self.source = Distributions.get()

    def test_wheel(self) -> None:
        """The wheel has the package, types, plugin and command, and nothing else."""
        with zipfile.ZipFile(self.wheel) as archive:
            names = archive.namelist()
            info = f"choria_backplane-{__version__}.dist-info"
            scripts = configparser.ConfigParser()
            scripts.read_string(archive.read(f"{info}/entry_points.txt").decode())
            metadata = archive.read(f"{info}/METADATA").decode()
        self.assertEqual({name.split("/")[0] for name in names}, {"backplane", "twisted", info})
        plugins = [name for name in names if name.startswith("twisted/")]
        self.assertEqual(plugins, ["twisted/plugins/backplane_twistd.py"])
        self.assertIn("backplane/py.typed", names)
        self.assertEqual(dict(scripts["console_scripts"]), {"backplane": "backplane.cli.main:main"})
        self.assertIn("Description-Content-Type: text/x-rst", metadata)
        modules = {
            path.relative_to(self.source).as_posix()
            for path in (self.source / "backplane").rglob("*.py")
        }
        self.assertEqual({name for name in names if name.endswith(".py")} - {*plugins}, modules)

    def test_sdist(self) -> None:
        """The source distribution has what is needed to test and to read it."""
        with tarfile.open(self.sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        for name in SHIPPED:
            self.assertIn(name, names)
        for folder in ("tests", "docs", "examples"):
            for path in (self.source / folder).rglob("*"):
                name = path.relative_to(self.source).as_posix()
                if path.is_file() and "__pycache__" not in name and "_trial_temp" not in name:
                    self.assertIn(name, names)
        stray = [name for name in names if "__pycache__" in name or "dropin.cache" in name]
        self.assertEqual(stray, [])

    def test_installed(self) -> None:
        """Installed elsewhere, ``twistd`` lists the plugin, and both commands work."""
        folder = Path(tempfile.mkdtemp(prefix="backplane-installed-"))
        self.addCleanup(shutil.rmtree, folder)
        venv.create(folder / "venv", with_pip=False, symlinks=os.name != "nt")
        python = str(folder / "venv" / "bin" / "python")
        install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-cache-dir"]
        # pip of this Python, so that none has to be installed there.
        borrowed = os.pathsep.join(packages())
        run(
            python, *install, "--ignore-installed", str(self.wheel), cwd=folder, PYTHONPATH=borrowed
        )
        site = run(
            python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
        )
        # Dependencies come from this Python; an editable install of ours there does not
        # count, as path files are not read in folders that one of them names.
        (Path(site.strip()) / "dependencies.pth").write_text("\n".join(packages()) + "\n")
        place = run(python, "-c", "import backplane; print(backplane.__file__)", cwd=folder)
        self.assertTrue(place.startswith(str(folder)), place)
        script = str(folder / "venv" / "bin" / "backplane")
        self.assertEqual(run(script, "--version", cwd=folder).strip(), f"backplane {__version__}")
        twistd = "from twisted.scripts.twistd import run; import sys; sys.argv[0] = 'twistd'; run()"
        shown = run(python, "-c", twistd, "--help", cwd=folder)
        self.assertRegex(shown, r"(?m)^ +backplane +Choria management backplane")
        shown = run(python, "-c", twistd, "backplane", "--help", cwd=folder)
        self.assertIn("-c, --config=", shown)

    def test_requirements(self) -> None:
        """Every requirement is installed here, so that no test passes without it."""
        with zipfile.ZipFile(self.wheel) as archive:
            name = f"choria_backplane-{__version__}.dist-info/METADATA"
            lines = archive.read(name).decode().split("\n")
        required = [line[15:] for line in lines if line.startswith("Requires-Dist: ")]
        needed = [text for text in required if "extra ==" not in text]
        self.assertTrue(needed)
        for text in needed:
            package = text.split(">")[0].split(";")[0].strip()
            self.assertTrue(importlib.metadata.version(package))
