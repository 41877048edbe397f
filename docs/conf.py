"""The manual as a site: ``make docs``, or ``sphinx-build -W -n docs build/docs``.

The pages are plain reStructuredText that any forge shows; what the site needs beyond that
is made by ``_ext/manual.py``. Nothing is fetched.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "_ext"), str(Path(__file__).parent.parent)]

project = "backplane"
author = "the backplane's authors"
version = release = importlib.import_module("backplane").__version__
language = "en"

extensions = ["sphinx.ext.autodoc", "manual"]
root_doc = "index"
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"backplane {release}"
html_show_sourcelink = False
html_show_copyright = False
smartquotes = False  # what a page shows is what is typed

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
# Classes say what their arguments are; the annotations say the rest.
autodoc_class_signature = "mixed"

nitpicky = True
nitpick_ignore_regex = [
    # Names of other packages: their inventories would have to be fetched.
    (r"py:.*", r"_?(attr|attrs|asyncio|click|collections|contextlib|datetime|enum|os|random)\..*"),
    (r"py:.*", r"logging\..*"),
    (r"py:.*", r"(OpenSSL|cryptography|pathlib|re|threading|twisted|types|typing|zope)\..*"),
    # Types of internal modules, which annotations name. Docstrings name what is described.
    (r"py:class", r"backplane(\.\w+)+"),
    # Internal modules, where a docstring says where more stands.
    (r"py:mod", r"backplane(\.\w+)+"),
]
nitpick_ignore = [
    # Attributes that the same docstring describes as fields, which are no places to go to.
    ("py:attr", "ca"),
    ("py:attr", "initial_delay"),
    ("py:attr", "problems"),
    # Twisted's, by their short names.
    ("py:class", "Deferred"),
    ("py:class", "IOpenSSLServerConnectionCreator"),
    ("py:exc", "CannotListenError"),
    # Internal, in sentences for those who read the source.
    ("py:class", "Pub"),
    ("py:class", "Subscriptions"),
    ("py:class", "Waiters"),
    ("py:data", "backplane.security.roles.ACTION_ROLES"),
    ("py:func", "backplane.choria.v1.request_body"),
]
