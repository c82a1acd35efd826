"""Turn an executed notebook into one page that loads nothing: formulas as MathML, pictures inside, no script."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from jinja2 import pass_context
from latex2mathml.converter import convert as latex_to_mathml
from nbconvert.exporters.html import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from xai.errors import UserError
from xai.report.page import NOTEBOOK_PAGE, STYLE
from xai.report.source import section_titles


def render_page(notebook: NotebookNode, *, name: str, meta: dict[str, str], footer: list[str]) -> str:
    """Write an executed notebook as a page.

    Args:
        notebook: executed; its pictures carry alt text in their metadata.
        name: stem of the file, such as "01_feature_maps"; the page links to the notebook of that name beside it.
        meta: names and contents of the page's meta elements.
        footer: lines at the foot, plain text.

    Returns:
        HTML, self-contained.

    Raises:
        UserError: a formula cannot be written as MathML.
    """
    page = {
        "title": notebook.metadata.get("title") or name,
        "meta": meta,
        "style": STYLE,
        "notebook": f"{name}.ipynb",
        "sections": [(_anchor(title), _plain(title)) for title in section_titles(notebook)],
        "footer": footer,
    }
    exporter = _PageExporter(template_name="basic", raw_template=NOTEBOOK_PAGE)
    html, _ = exporter.from_notebook_node(notebook, resources={"page": page})
    return str(html)


class _Renderer(IPythonRenderer):
    """Markdown to HTML with MathML formulas and headings that can be linked to."""

    def inline_math(self, body: str) -> str:
        return _mathml(body, "inline")

    def block_math(self, body: str) -> str:
        return _mathml(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return _mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        return f'<h{level} id="{_anchor(text)}">{text}</h{level}>\n'


class _PageExporter(HTMLExporter):
    """nbconvert's exporter with our renderer of text cells."""

    @pass_context
    def markdown2html(self, context: object, source: str) -> str:
        return str(MarkdownWithMath(renderer=_Renderer(escape=False)).render(source))


def _mathml(latex: str, display: str) -> str:
    """Write a formula as MathML; the LaTeX stays as its alternative text."""
    try:
        markup = latex_to_mathml(latex.strip(), display=display)
    except Exception as error:  # the converter has a dozen exception classes without a common one of its own
        raise UserError(f"The formula {latex.strip()!r} cannot be written as MathML.") from error
    alternative = latex.strip().replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    focus = 'tabindex="0" ' if display == "block" else ""  # a long formula scrolls; the keyboard must reach it
    return markup.replace("<math ", f'<math alttext="{alternative}" {focus}', 1)


def _plain(text: str) -> str:
    """Take the marks of emphasis and code out of a heading."""
    return re.sub(r"[*`]", "", text)


def _anchor(text: str) -> str:
    """Make the identifier of a heading: lower-case words joined by hyphens."""
    plain = unescape(re.sub(r"<[^>]+>", "", _plain(text)))
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
