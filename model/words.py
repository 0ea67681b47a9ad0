"""Words: which other words could a question have used?"""

import collections
import re

# Abbreviations of code, and words that people use for the same thing. One group a line; training swaps some for others.
SYNONYMS = """
config configuration settings options preferences
msg message
err error failure
init initialize initialise setup
ctx context
req request
res resp response reply
auth authentication authorization login
db database
conn connection
addr address
buf buffer
len length size
num number count
str string text
int integer
bool boolean
arg args argument arguments parameter parameters params
env environment
dir directory folder
tmp temp temporary
src source
dst dest destination target
idx index
ptr pointer
fn func function
cb callback handler hook
evt event
elem element item entry
attr attribute property
obj object
val value
var variable
cmd command
exec execute run
proc process
pkg package
lib library
repo repository
util utility helper
impl implementation
spec specification
doc docs documentation
img image picture
btn button
nav navigation
prev previous
cur current
max maximum limit
min minimum
avg average mean
calc calculate compute
gen generate create make build construct produce
del delete remove erase discard drop
add append insert push
get fetch retrieve obtain read load
set assign store write save persist
find search lookup locate query
parse decode deserialize unmarshal
format encode serialize marshal stringify
sync synchronize
async asynchronous concurrent
mutex lock
alloc allocate
dealloc free release
recv receive
send transmit emit dispatch publish
sub subscribe listen
pub publish
start begin launch spawn open
stop end finish shutdown terminate close
check verify validate ensure test
compare equal diff match
copy clone duplicate
merge combine join concat
split divide partition separate
convert transform translate cast
update modify change edit mutate
sort order rank
filter select
iterate loop traverse walk
retry repeat again
timeout deadline expire expiration
cache memoize
log logger logging
warn warning
hash digest checksum
encrypt cipher crypt
decrypt
random rand
url uri link
path route
param parameter
schema model structure
token credential
user account
stat statistics metrics
perm permission access
char character
regex regexp pattern
dict map mapping table
list array vector sequence
queue fifo
stack lifo
tree hierarchy
node vertex
edge arc
graph network
win window
thread worker
task job
mem memory
net network
sock socket
http web
html markup
css style
js javascript
ts typescript
py python
os system platform
io input output
cli command terminal
ui interface view
pos position location offset
rect rectangle
dim dimension
col column
row line record
tab table
cfg config
desc description
info information
meta metadata
ref reference
sig signature
alg algo algorithm
seq sequence
freq frequency
ver version
id identifier key
ns namespace
txn transaction
exc exception
stmt statement
expr expression
decl declaration
def definition
"""

SUFFIXES = re.compile(r"(izations?|isations?|ations?|itions?|ions?|ments?|ings?|ized?|ised?|ables?|ibles?|ness|ers?|ors?|ies|ied|es|ed|s|e|y)$")


def stem(word: str) -> str:
    cut = SUFFIXES.sub("", word)
    if len(cut) < 4:
        return word
    return cut[:-1] if len(cut) > 4 and cut[-1] == cut[-2] and cut[-1] not in "ls" else cut


def variants(tokens: list[str]) -> list[list[int]]:
    """For each token, other tokens of its stem and of its group of synonyms."""
    place = {token: number for number, token in enumerate(tokens)}
    families = collections.defaultdict(list)
    for number, token in enumerate(tokens):
        if token.isalpha() and len(token) >= 4:
            families[stem(token)].append(number)
    found: list[list[int]] = [[] for _ in tokens]
    for family in families.values():
        if 2 <= len(family) <= 12:
            for number in family:
                found[number] += [other for other in family if other != number]
    for line in SYNONYMS.strip().splitlines():
        group = [place[word] for word in line.split() if word in place]
        for number in group:
            found[number] += [other for other in group if other != number]
    return found
