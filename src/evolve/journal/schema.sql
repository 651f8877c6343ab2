-- The journal of a search. `number` counts candidates from 0 within a stage; a score that could not be computed is NULL.

-- What is searched, on which questions: a line at the start, and one more each time models or tasks were allowed to change.
CREATE TABLE study (
  id INTEGER PRIMARY KEY,         -- shares its numbers with `entry`, in the order of writing
  at TEXT NOT NULL,               -- UTC
  ggraft TEXT NOT NULL,
  llama_cpp TEXT,
  seed INTEGER,
  budget INTEGER,                 -- candidates wanted in all
  file TEXT,                      -- the evolve file
  evolve TEXT NOT NULL,           -- its text
  more TEXT                       -- JSON: whatever has no column
) STRICT;

-- The parents, by digest of their tensors.
CREATE TABLE model (
  study INTEGER NOT NULL,
  position INTEGER NOT NULL,
  name TEXT NOT NULL,
  digest TEXT NOT NULL,
  PRIMARY KEY (study, position)
) STRICT, WITHOUT ROWID;

-- The tasks, by digest of how and what is asked.
CREATE TABLE task (
  study INTEGER NOT NULL,
  position INTEGER NOT NULL,
  name TEXT NOT NULL,
  digest TEXT NOT NULL,
  PRIMARY KEY (study, position)
) STRICT, WITHOUT ROWID;

-- What each gene of each stage is called.
CREATE TABLE gene (
  study INTEGER NOT NULL,
  stage INTEGER NOT NULL,
  position INTEGER NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (study, stage, position)
) STRICT, WITHOUT ROWID;

-- Everything that was scored, in that order.
CREATE TABLE entry (
  id INTEGER PRIMARY KEY,
  at TEXT NOT NULL,
  kind TEXT NOT NULL,             -- candidate, finalist (on all search questions), test (on questions never seen), ...
  stage INTEGER,
  number INTEGER,                 -- of the candidate; NULL for the mean of the distribution
  name TEXT,                      -- of the model that was tested
  fitness REAL,
  swap_seconds REAL,
  score_seconds REAL,
  prompt_seconds REAL,            -- part of score_seconds
  genes TEXT,                     -- JSON: a number for each gene
  more TEXT
) STRICT;

-- What it did, task by task.
CREATE TABLE answers (
  entry INTEGER NOT NULL,
  position INTEGER NOT NULL,
  task TEXT NOT NULL,
  metric TEXT NOT NULL,
  value REAL,
  stderr REAL,
  low REAL,                       -- the 95 % interval
  high REAL,
  items TEXT NOT NULL,            -- JSON: a number for each question, higher is better
  more TEXT,
  PRIMARY KEY (entry, position)
) STRICT, WITHOUT ROWID;

CREATE VIEW candidate AS
  SELECT stage, number, at, fitness, swap_seconds, score_seconds, prompt_seconds, genes, id AS entry FROM entry WHERE kind = 'candidate';

CREATE VIEW finalist AS
  SELECT stage, number, at, fitness, swap_seconds, score_seconds, prompt_seconds, id AS entry FROM entry WHERE kind = 'finalist';

CREATE VIEW test AS
  SELECT name, at, fitness, swap_seconds, score_seconds, prompt_seconds, id AS entry FROM entry WHERE kind = 'test';

CREATE VIEW candidate_gene AS
  SELECT c.stage, c.number, coalesce(g.name, 'gene ' || j.key) AS gene, j.value
  FROM candidate AS c, json_each(c.genes) AS j
  LEFT JOIN gene AS g ON g.study = 1 AND g.stage = c.stage AND g.position = j.key;

CREATE VIEW answer AS
  SELECT a.entry, a.task, j.key AS question, j.value FROM answers AS a, json_each(a.items) AS j;
