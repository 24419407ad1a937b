"How the site documents a function: one line to call it, what it does, and a table of its parameters."
import re
from functools import cached_property, reduce
from importlib import import_module
from inspect import Parameter, _empty, getdoc, isfunction, signature
from textwrap import fill

from fastcore.docments import docments
from nbdev.showdoc import BasicMarkdownRenderer, NbdevLookup, _ext_link

EMPTY = (_empty, None, type(None))

def type_name(annotation) -> str:
    "The name of a type without the modules that it lives in; nothing where there is none."
    if annotation in EMPTY: return ''
    plain = isinstance(annotation, type) and not hasattr(annotation, '__args__')
    text = annotation.__name__ if plain else str(annotation)
    return re.sub(r'\b(?:[a-zA-Z_]\w*\.)+(?=[a-zA-Z_])', '', text)

def default_text(value) -> str:
    "A default as one writes it in a call; nothing where there is none."
    if value is _empty: return ''
    return re.sub(r'<(?:function|class) \'?(?:[\w.]*\.)?(\w+)\'?(?: at \w+)?>', r'\1', repr(value))

def call_line(name: str, parameters) -> str:
    "A call with the names and the defaults of all parameters, in lines of at most 80 characters."
    words = []
    for parameter in parameters:
        star = {Parameter.VAR_POSITIONAL: '*', Parameter.VAR_KEYWORD: '**'}.get(parameter.kind, '')
        if parameter.kind is Parameter.KEYWORD_ONLY and '*' not in words: words.append('*')
        default = default_text(parameter.default)
        words.append(f'{star}{parameter.name}' + f'={default}' * bool(default))
    return fill(f'{name}({", ".join(words)})', 80, subsequent_indent='    ', break_long_words=False)

def code(text: str) -> str:
    "Text as code in a cell of a Markdown table."
    return '`' + text.replace('|', r'\|').replace('\n', ' ') + '`' if text else ''

def words(comment: str | None) -> str:
    "A comment in a cell of a Markdown table, with what it quotes as code."
    plain = ' '.join((comment or '').replace('|', r'\|').replace('<', '&lt;').split())
    return re.sub(r"(?<![\w`])'([^'` ]+)'(?![\w`])", r"`'\1'`", plain)

def prose(docstring: str) -> str:
    "A docstring as Markdown: a placeholder such as <class> is no HTML."
    parts = re.split(r'(`[^`]*`)', docstring)
    return ''.join(part if part.startswith('`') else part.replace('<', '&lt;') for part in parts)

def parameter_table(parameters, comments: dict) -> str:
    "Name, type, default and meaning of each parameter, and what is returned."
    said = {item.name: comments.get(item.name) or dict(anno=item.annotation, docment='')
            for item in parameters}
    rows = [(f'<code>{item.name}</code>', code(type_name(said[item.name]['anno'])),
             code(default_text(item.default)), words(said[item.name]['docment'])) for item in parameters]
    returned = comments.get('return') or {}
    if returned.get('anno') not in EMPTY or returned.get('docment'):
        rows.append(('returns', code(type_name(returned['anno'])), '', words(returned['docment'])))
    lines = ['| parameter | type | default | meaning |', '|---|---|---|---|']
    return '\n'.join(lines + [f'| {" | ".join(row)} |' for row in rows]) if rows else ''

def method_line(name: str, member) -> str:
    "How a public method is called, or the name of a property; nothing for what is neither."
    if isinstance(member, (property, cached_property)): return name
    function = getattr(member, '__func__', member)
    if not isfunction(function): return ''
    own = 0 if isinstance(member, staticmethod) else 1
    return call_line(name, list(signature(function).parameters.values())[own:])

def meaning(member) -> str:
    "The first paragraph of a method's text; without text, of a property, the comment on what it returns."
    if doc := getdoc(member): return words(doc.partition('\n\n')[0])
    if not isinstance(member, property): return ''
    return words((docments(member.fget, full=True).get('return') or {}).get('docment'))

def method_table(value) -> str:
    "The public methods and properties that a class itself defines."
    members = vars(value) if isinstance(value, type) else {}
    public = {name: member for name, member in members.items() if not name.startswith('_')}
    rows = [f'| {code(method_line(name, member))} | {meaning(member)} |'
            for name, member in public.items() if method_line(name, member)]
    return '\n'.join(['| method | meaning |', '|---|---|', *rows]) if rows else ''

def exported(name: str, source: str, otherwise):
    "The object of that name in the module of its source: only there are a dataclass's comments found."
    module = re.search(r'/blob/[^/]+/([\w./]+)\.py', source or '')
    if module is None: return otherwise
    return reduce(lambda value, part: getattr(value, part, otherwise), name.split('.'),
                  import_module(module[1].replace('/', '.')))

def follow_class(function):
    "Let comments on what a function hands to a dataclass be found in the class: `__init__` has no source."
    delegated = getattr(function, '__delwrap__', None)
    owner, _, name = getattr(delegated, '__qualname__', '').partition('.')
    if name == '__init__': function.__delwrap__ = function.__globals__[owner]

class Signature(BasicMarkdownRenderer):
    "The documentation of one name: source, call, sentence, table."
    def __init__(self, sym, name: str | None = None, title_level: int = 3):
        follow_class(sym)
        super().__init__(sym, name=name, title_level=title_level)

    def call(self, documented) -> tuple[str, str]:
        "The line that calls it, and the table of its parameters; a name that cannot be called has neither."
        if self.sig is None: return '', ''
        parameters = [item for item in self.sig.parameters.values() if item.name not in ('self', 'cls')]
        follow_class(documented)
        comments = docments(documented, full=True)
        return f'```python\n{call_line(self.nm, parameters)}\n```', parameter_table(parameters, comments)

    def _repr_markdown_(self) -> str:
        source = NbdevLookup().code(self.fn)
        style = 'style="float:right; font-size:smaller"'
        link = _ext_link(source, 'source', style) if source else ''
        documented = exported(self.nm, source, self.sym)
        line, table = self.call(documented)
        parts = ('---', link, f'### {self.nm}', line, prose(self.docs), table, method_table(documented))
        return '\n\n'.join(part for part in parts if part)
