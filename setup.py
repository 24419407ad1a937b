"Packaging reads `settings.ini`, the one place that says version, requirements and console scripts."
from configparser import ConfigParser
from setuptools import setup, find_packages

config = ConfigParser(delimiters=['='])
config.read('settings.ini', encoding='utf-8')
settings = config['DEFAULT']

setup(
    version=settings['version'],
    packages=find_packages(include=['s8lib', 's8lib.*']),
    install_requires=settings['requirements'].split(),
    extras_require={'dev': settings['dev_requirements'].split()},
    entry_points={'console_scripts': settings['console_scripts'].split()},
)
