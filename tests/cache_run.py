"Fill the teacher cache of test_cache.py from the command line: argv[1] the folder, argv[2] seconds that each batch takes."
import sys, time
from builders import long_rows, make_tokenizer, sharp
from distill_nb.teachers import cache

slow, plain = float(sys.argv[2]), cache.ask
def ask(*args):
    time.sleep(slow)
    return plain(*args)
cache.ask = ask
rows = cache.cache_teacher(sharp(), long_rows(make_tokenizer()), make_tokenizer(), folder=sys.argv[1], per_file=100)
print(sum(map(sum, rows[cache.LOGITS])))
