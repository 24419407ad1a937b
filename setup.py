"Packaging reads `settings.ini`, the one place that says version, requirements and console scripts."
from configparser import ConfigParser
from setuptools import find_packages, setup

config = ConfigParser(delimiters=['='])
with open('settings.ini', encoding='utf-8') as file: config.read_file(file)
settings = config['DEFAULT']
name = settings['lib_name']

setup(
    version=settings['version'],
    packages=find_packages(include=[name, f'{name}.*']),
    package_data={name: ['*.html', '*.js']},
    install_requires=settings['requirements'].split(),
    extras_require={extra: settings[f'{extra}_requirements'].split()
                    for extra in ('dev', 'benchmark', 'onnx')},
    # nbdev finds the documentation of a package by its entry point; a table would hide the scripts
    entry_points={
        'console_scripts': settings['console_scripts'].split(),
        'nbdev': [f'{name} = {name}._modidx:d'],
    },
)
