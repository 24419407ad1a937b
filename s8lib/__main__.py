"`python -m s8lib` is the command `s8lib`."
from s8lib.command import main

if __name__ == '__main__': main()
