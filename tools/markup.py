"What a built page is given beside its text: formulas as MathML, modules as code, words for those who listen."
import html
import re

from latex2mathml.converter import convert

LABELS = {'<nav class="navbar ': 'Site', '<nav id="quarto-sidebar" ': 'All pages',
          '<nav id="TOC" ': 'Sections', '<nav class="quarto-secondary-nav"': 'This page',
          '<nav class="page-navigation"': 'Previous and next page',
          '<div id="quarto-margin-sidebar"': 'Beside the text'}
KATEX = re.compile(r'<(?:link|script)[^>]*katex[^>]*>(?:</script>)?')
FORMULA = re.compile(r'(?P<open><span class="math (?P<kind>inline|display)">)'
                     r'\\[(\[](?P<tex>.*?)\\[)\]]</span>', re.DOTALL)
OUTPUT = r'(<div class="cell-output[^>]*>\s*<pre)'

def with_mathml(text: str) -> str:
    "A page whose formulas the browser draws by itself, and which asks no server for KaTeX."
    def formula(match):
        kind = 'block' if match['kind'] == 'display' else 'inline'
        return match['open'] + convert(html.unescape(match['tex']), display=kind) + '</span>'
    return FORMULA.sub(formula, KATEX.sub('', text))

def with_modules(
    text: str,           # of a page
    modules: list[str],  # names, without the library's
) -> str:
    "A page whose titles, also those in the sidebar and in links to neighbours, show a module as code."
    names = '|'.join(map(re.escape, modules))
    places = r'<h1 class="title">|<span class="menu-text">|<span class="nav-page-text">'
    return re.sub(rf'({places})({names}): ', r'\1<code class="module">\2</code> ', text)

def with_own_pictures(text: str) -> str:
    "A page that fetches no picture from elsewhere, such as a badge: its words stand in its place."
    return re.sub(r'<img(?=[^>]* src="https?:)[^>]* alt="([^"]+)"[^>]*>', r'\1', text)

def with_words(text: str) -> str:
    "A page for screen reader and keyboard: named landmarks, silent icons, and what scrolls can be reached."
    for start, label in LABELS.items():
        name, rest = start.split(' ', 1)
        text = text.replace(start, f'{name} aria-label="{label}" {rest}')
    text = text.replace('id="quarto-margin-sidebar"', 'role="complementary" id="quarto-margin-sidebar"')
    text = text.replace(' role="img"></i>', ' aria-hidden="true"></i>')
    text = text.replace(' role="navigation"', ' role="button"')
    text = re.sub(r'<table(?=[ >])', '<table tabindex="0"', text)
    text = re.sub(OUTPUT + r'(?=><code>.*</code></pre>)', r'\1 class="line"', text)
    return re.sub(OUTPUT, r'\1 tabindex="0"', text)

def finished(
    text: str,           # of a built page
    modules: list[str],  # names, without the library's
) -> str:
    "A built page as it is served."
    return with_words(with_own_pictures(with_modules(with_mathml(text), modules)))
