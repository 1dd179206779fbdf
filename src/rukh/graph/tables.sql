-- The tables of a knowledge graph. `evidence` and what it names are what was added; `entities` and
-- `edges` are made from them, by `store.py`, in the same transaction.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE changes (number INTEGER PRIMARY KEY, token TEXT NOT NULL);
CREATE TABLE posts (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, time TEXT, changed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE names (
  id INTEGER PRIMARY KEY, text TEXT NOT NULL, type TEXT NOT NULL, -- '': unknown
  object TEXT NOT NULL,         -- '': a name; else the place of an object, or of a
                                -- word such as `she`, which is an entity of its own
  entity INTEGER,
  UNIQUE (text, type, object)
);
CREATE INDEX names_entity ON names (entity);
CREATE TABLE arguments (
  id INTEGER PRIMARY KEY, post INTEGER NOT NULL, name INTEGER NOT NULL,
  place TEXT NOT NULL,          -- `start:end` or the box as JSON
  full INTEGER,                 -- the name that this one is short for in this post
  rule TEXT,                    -- why
  UNIQUE (post, place, name)
);
CREATE INDEX arguments_name ON arguments (name);
CREATE TABLE evidence (
  id INTEGER PRIMARY KEY, post INTEGER NOT NULL,
  head INTEGER NOT NULL, relation TEXT NOT NULL, tail INTEGER NOT NULL,
  model TEXT NOT NULL, schema TEXT NOT NULL, score REAL NOT NULL, description TEXT,
  details TEXT,                 -- reason and ranking, as JSON
  edge TEXT, changed INTEGER NOT NULL,
  UNIQUE (head, relation, tail, model, schema)
);
CREATE INDEX evidence_post ON evidence (post);
CREATE INDEX evidence_edge ON evidence (edge);
CREATE TABLE relations (
  name TEXT PRIMARY KEY, canonical TEXT NOT NULL, -- of two inverse relations, the one that is kept
  flipped INTEGER NOT NULL, symmetric INTEGER NOT NULL, directed INTEGER NOT NULL,
  functional INTEGER NOT NULL, inverse_functional INTEGER NOT NULL, alias INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE entities (
  id INTEGER PRIMARY KEY,       -- that of one of its names
  iri TEXT NOT NULL UNIQUE, label TEXT NOT NULL, type TEXT,
  aliases TEXT NOT NULL,        -- the other names, as JSON
  changed INTEGER NOT NULL
);
CREATE INDEX entities_label ON entities (label);
CREATE TABLE links (one INTEGER NOT NULL, two INTEGER NOT NULL, rule TEXT NOT NULL);
CREATE TABLE ambiguous (name INTEGER NOT NULL, other INTEGER NOT NULL, rule TEXT NOT NULL);
CREATE TABLE edges (
  iri TEXT PRIMARY KEY, head INTEGER NOT NULL, relation TEXT NOT NULL, tail INTEGER NOT NULL,
  posts INTEGER NOT NULL, mentions INTEGER NOT NULL, best REAL NOT NULL, combined REAL NOT NULL,
  first TEXT, last TEXT, conflict TEXT,
  triples INTEGER NOT NULL, latest INTEGER NOT NULL, -- number of its evidence, and last change
  changed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX edges_head ON edges (head);
CREATE INDEX edges_tail ON edges (tail);
CREATE TABLE removed (iri TEXT PRIMARY KEY, changed INTEGER NOT NULL) WITHOUT ROWID;
