"""The frame of every exported page: one template for notebooks, one for the index, one style sheet, no script."""

STYLE = """\
:root { color-scheme: light; --ink: #1f2937; --muted: #5b6472; --line: #d5d9e0; --soft: #f5f6f8; --link: #0b5c73; }
* { box-sizing: border-box; }
html { font: 100%/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
body { margin: 0; color: var(--ink); background: #fff; overflow-wrap: break-word; }
header, main, footer { max-width: 60rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 1rem; font-size: 0.9rem; }
footer { margin-top: 3rem; padding-bottom: 3rem; color: var(--muted); font-size: 0.9rem; }
footer p { margin: 0.3rem 0; }
a { color: var(--link); }
a:focus-visible, [tabindex]:focus-visible { outline: 3px solid #0e7490; outline-offset: 2px; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: 0.5rem; background: #fff; padding: 0.3rem; }
h1 { font-size: clamp(1.5rem, 5vw, 2.1rem); line-height: 1.25; margin: 1.5rem 0 1rem; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 2.6rem 0 0.6rem; padding-top: 0.8rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.1rem; margin: 1.6rem 0 0.4rem; }
p, ul, ol, table { max-width: 46rem; }
.contents ol { margin: 0.4rem 0; padding-left: 2rem; }
pre, code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }
code { font-size: 0.92em; background: var(--soft); padding: 0.08em 0.25em; border-radius: 3px; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.82rem; line-height: 1.5; }
pre code { padding: 0; background: none; }
.input { margin: 1.2rem 0 0; padding: 0.6rem 0.8rem; background: var(--soft); border-left: 3px solid var(--line); }
.output { margin: 0.6rem 0 1rem; padding-left: 0.8rem; border-left: 3px solid #0e7490; }
figure { margin: 0.8rem 0 1rem; }
img { display: block; max-width: 100%; height: auto; }
.table { overflow-x: auto; }
table { border: 0; border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.6rem; border: 0; border-bottom: 1px solid var(--line); text-align: right; }
table.dataframe th:first-child, table.dataframe td:first-child { text-align: left; }
math { font-size: 1.08em; }
math[display="block"] { margin: 0.8rem 0; overflow-x: auto; overflow-y: hidden; }
.cards { list-style: none; margin: 1.5rem 0; padding: 0; max-width: none; }
.cards li { display: grid; grid-template-columns: minmax(0, 22rem) minmax(0, 1fr); gap: 0.4rem 1.5rem;
  padding: 1.5rem 0; border-top: 1px solid var(--line); }
.cards h2 { margin: 0 0 0.4rem; padding: 0; border: 0; }
.cards p { margin: 0.4rem 0; }
.cards .made { color: var(--muted); font-size: 0.9rem; }
@media (max-width: 44rem) { .cards li { grid-template-columns: minmax(0, 1fr); } }
.highlight .k, .highlight .kn, .highlight .kc, .highlight .ow { color: #7a1f6b; font-weight: 600; }
.highlight .s1, .highlight .s2, .highlight .sa, .highlight .si, .highlight .se { color: #0b5d3b; }
.highlight .mi, .highlight .mf { color: #7c3a00; }
.highlight .c1 { color: #4f5967; font-style: italic; }
.highlight .nb, .highlight .bp, .highlight .o .n, .highlight .nv { color: #0b4a7a; }
@media print { .input, .output, figure { break-inside: avoid; } .contents { display: none; } }
"""

NOTEBOOK_PAGE = """\
{%- extends 'display_priority.j2' -%}

{% block header %}<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ resources.page.title | escape_html }}</title>
{% for name, content in resources.page.meta.items() -%}
<meta name="{{ name }}" content="{{ content | escape_html }}">
{% endfor -%}
<style>
{{ resources.page.style }}</style>
</head>
<body>
<a class="skip" href="#text">Skip to the text</a>
<header>
<nav aria-label="Notebooks"><a href="index.html">All notebooks</a> ·
<a href="{{ resources.page.notebook | escape_html }}" download>This notebook, executed</a></nav>
</header>
<main id="text">
{% endblock header %}

{% block markdowncell scoped %}
{{ cell.source | markdown2html }}
{% if loop.first and resources.page.sections -%}
<nav class="contents" aria-label="Contents of this page">
<ol>
{% for anchor, section in resources.page.sections -%}
<li><a href="#{{ anchor }}">{{ section }}</a></li>
{% endfor -%}
</ol>
</nav>
{% endif %}
{%- endblock markdowncell %}

{% block input scoped %}
<div class="input">{{ cell.source | highlight_code(metadata=cell.metadata) }}</div>
{% endblock input %}

{% block output_group scoped %}
<div class="output">
{{ super() }}
</div>
{% endblock output_group %}

{% block execute_result scoped %}
{%- block data_priority scoped %}{{ super() }}{% endblock data_priority -%}
{% endblock execute_result %}
{% block stream_stdout scoped %}<pre>{{ output.text | ansi2html }}</pre>{% endblock stream_stdout %}
{% block stream_stderr scoped %}<pre>{{ output.text | ansi2html }}</pre>{% endblock stream_stderr %}
{% block data_text scoped %}<pre>{{ output.data['text/plain'] | ansi2html }}</pre>{% endblock data_text %}
{% block data_markdown scoped %}{{ output.data['text/markdown'] | markdown2html }}{% endblock data_markdown %}

{% block data_html scoped %}
<div class="table" tabindex="0">{{ output.data['text/html'] }}</div>
{% endblock data_html %}

{% macro picture(output, kind) %}
<figure><img src="data:{{ kind }};base64,{{ output.data[kind] | replace('\\n', '') }}"
{%- for key in ('width', 'height', 'alt') %}
{%- set value = output | get_metadata(key, kind) %}
{%- if value is not none %} {{ key }}="{{ value | string | escape_html }}"{% endif %}
{%- endfor %}></figure>
{% endmacro %}
{% block data_png scoped %}{{ picture(output, 'image/png') }}{% endblock data_png %}
{% block data_jpg scoped %}{{ picture(output, 'image/jpeg') }}{% endblock data_jpg %}

{% block footer %}
</main>
<footer>
{% for line in resources.page.footer -%}
<p>{{ line | escape_html }}</p>
{% endfor -%}
</footer>
</body>
</html>
{% endblock footer %}
"""

INDEX_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>What does the network see? Executed notebooks</title>
<style>
{{ style }}</style>
</head>
<body>
<main>
<h1>What does the network see?</h1>
<p>Each notebook asks one question about a convolutional network, answers it with figures and numbers, and says what
they do not show. The pages were made by executing the notebooks; they load nothing from elsewhere.</p>
<ul class="cards">
{% for entry in entries -%}
<li>
<img src="data:image/jpeg;base64,{{ entry.thumbnail }}" width="{{ entry.width }}" height="{{ entry.height }}"
alt="{{ entry.alt | e }}">
<div>
<h2><a href="{{ entry.page }}">{{ entry.question | e }}</a></h2>
<p>{{ entry.summary | e }}</p>
<p class="made">Network: {{ entry.network | e }}. <a href="{{ entry.notebook }}" download>Executed notebook</a></p>
</div>
</li>
{% endfor -%}
</ul>
</main>
</body>
</html>
"""
