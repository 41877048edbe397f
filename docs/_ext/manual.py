"""What makes a site of pages that any forge shows as they are.

* A link to a page's file becomes a link to the page; README and changes are pages too.
* The index's links are the table of contents, in their order, a part for each section.
* A comment ``.. api: package.module`` stands for what that module's docstrings say;
  ``.. api: package.module: Name, Name`` for some names of it.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import posixpath
import re
from collections.abc import Iterator
from typing import Any, Final

import attrs
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util.nodes import make_refnode
from zope.interface.interface import InterfaceClass, Method

OUTSIDE: Final = {"README.rst": "readme", "CHANGELOG.rst": "changes"}
"""Files beside this folder, and the pages that include them."""

OBJECTS: Final = {
    "class": ("class", "exception", "data"),
    "data": ("data",),
    "exc": ("exception", "class"),
    "func": ("function",),
    "meth": ("method",),
    "obj": ("class", "exception", "function", "data"),
}
"""What may stand for what a role names."""


def page_of(link: str) -> tuple[str, str] | None:
    """Return page and place within it that a link to one of our files means."""
    target, _, place = link.partition("#")
    if re.match(r"[a-z]+:", target) or not target.endswith(".rst"):
        return None
    name = posixpath.basename(target)
    return OUTSIDE.get(name, name.removesuffix(".rst")), place


class Links(SphinxTransform):
    """Links to files become links to pages."""

    default_priority = 5

    def apply(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(nodes.reference)):
            found = page_of(node.get("refuri", ""))
            if found is None:
                continue
            page, place = found
            if page not in self.env.found_docs:
                raise ValueError(f"{self.env.docname}: there is no page {page}")
            if place:
                continue
            node.replace_self(
                addnodes.pending_xref(
                    "",
                    *node.children,
                    refdomain="std",
                    reftype="doc",
                    reftarget=f"/{page}",
                    refexplicit=True,
                    refdoc=self.env.docname,
                )
            )


class Contents(SphinxTransform):
    """The index's links are the table of contents."""

    default_priority = 4  # before its links are changed

    def apply(self, **kwargs: Any) -> None:
        if self.env.docname != self.config.root_doc:
            return
        for section in list(self.document.findall(nodes.section)):
            below = [node for node in section.children if not isinstance(node, nodes.section)]
            links = [
                found[0]
                for node in below
                for term in node.findall(nodes.term)
                for reference in term.findall(nodes.reference)
                if (found := page_of(reference.get("refuri", ""))) is not None
            ]
            if links:
                section += self._toctree(section.next_node(nodes.title).astext(), links)

    def _toctree(self, caption: str, pages: list[str]) -> addnodes.toctree:
        return addnodes.toctree(
            "",
            parent=self.env.docname,
            entries=[(None, page) for page in pages],
            includefiles=pages,
            maxdepth=1,
            caption=caption,
            rawcaption=caption,
            rawentries=[],
            glob=False,
            hidden=True,
            includehidden=False,
            numbered=0,
            titlesonly=True,
        )


def expand(app: Sphinx, docname: str, content: list[str]) -> None:
    """Put what docstrings say where a comment asks for it."""
    content[0] = re.sub(
        r"(?m)^\.\. api: ([\w.]+)(?:: (.+))?$",
        lambda match: "\n".join(api(match[1], match[2])),
        content[0],
    )


def api(module: str, only: str | None) -> Iterator[str]:
    """Return the directives that describe what a module offers, or some names of it."""
    found = importlib.import_module(module)
    yield f".. py:{'current' if only else ''}module:: {module}\n"
    for name in only.split(", ") if only else found.__all__:
        value = getattr(found, name)
        if isinstance(value, InterfaceClass):
            yield from interface(name, value)
        elif isinstance(value, type):
            if not elsewhere(module, name, value):
                yield f".. autoclass:: {name}"
                yield from class_options(value)
                yield ""
        elif inspect.isfunction(value):
            if not elsewhere(module, name, value):
                yield f".. autofunction:: {name}\n"
        elif only:
            yield f".. autodata:: {name}\n    :no-value:\n"


def elsewhere(module: str, name: str, value: Any) -> bool:
    """Say whether a name is described as one of the package's, which comes first."""
    package = importlib.import_module("backplane")
    return module != "backplane" and name in package.__all__ and getattr(package, name) is value


def class_options(described: type) -> Iterator[str]:
    """Return what else to show of a class: its bases, and what comes from those of ours."""
    bases = described.__mro__[1:]
    if len(bases) > 1:
        yield "    :show-inheritance:"
    if issubclass(described, enum.Enum):
        yield "    :undoc-members:"
    if any(base.__module__.startswith("backplane.") for base in bases):
        others = [base.__name__ for base in bases if not base.__module__.startswith("backplane.")]
        yield f"    :inherited-members: {', '.join(others)}"


def interface(name: str, described: InterfaceClass) -> Iterator[str]:
    """Return the description of an interface of zope."""
    yield f".. py:class:: {name}\n"
    yield f"    {described.getDoc().strip()}\n"
    for item, attribute in described.namesAndDescriptions():
        if isinstance(attribute, Method):
            yield f"    .. py:method:: {item}{attribute.getSignatureString()}\n"
        else:
            yield f"    .. py:attribute:: {item}\n"
        text = attribute.getDoc().strip() or attribute.getName()
        yield from (f"        {line.strip()}" for line in text.split("\n"))
        yield ""


def split_fields(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Let one field describe several names: Sphinx takes the first for a type."""
    for at, line in enumerate(lines):
        match = re.match(r"(:(?:param|ivar|cvar) )(\w+(?:, \w+)+)(:.*)", line)
        if match is not None:
            lines[at] = match[1] + match[2].replace(", ", ",") + match[3]


def plain_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, args: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Show defaults of attrs classes, and interfaces, as they are written."""
    fields = attrs.fields_dict(obj) if isinstance(obj, type) and attrs.has(obj) else {}

    def default(match: re.Match[str]) -> str:
        value = fields[match[1]].default
        return "..." if isinstance(value, attrs.Factory) else repr(value)  # type: ignore[arg-type]

    def plain(text: str | None) -> str | None:
        if text is None:
            return None
        text = re.sub(r"attr_dict\['(\w+)'\]\.default", default, text)
        return re.sub(r"<InterfaceClass ([\w.]+)>", r"~\1", text)

    return plain(args), plain(returns)


def resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Find a name of ours that is described on one page only, whatever module it was read in."""
    if node.get("refdomain") != "py":
        return None
    domain = env.domains.python_domain
    wanted: str = node["reftarget"]
    kinds = OBJECTS.get(node["reftype"], ())
    for name in (wanted, wanted.rpartition(".")[2]):
        found = {
            entry.node_id: (full, entry)
            for full, entry in domain.objects.items()
            if full.endswith(f".{name}") and entry.objtype in kinds
        }
        if found:
            break
    if len(found) != 1:
        return None
    ((full, entry),) = found.values()
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, full)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", expand)
    app.connect("autodoc-process-docstring", split_fields)
    app.connect("autodoc-process-signature", plain_signature)
    app.connect("missing-reference", resolve)
    app.add_transform(Contents)
    app.add_transform(Links)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
