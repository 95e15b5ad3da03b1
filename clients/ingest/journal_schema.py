"""The tables of a journal, and what brings those of an earlier version up to them."""

VERSION = 3

SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE titles (
    media_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    content_hash TEXT NOT NULL,  -- of the version that is worked on, or was worked on last
    state TEXT NOT NULL,
    uri TEXT NOT NULL,
    identity TEXT,               -- by which an unchanged file is known without reading it
    labels TEXT,                 -- what the catalogue said of it (`labels_digest`); null: not known,
                                 -- "either": the sink may say that or `said`
    said TEXT,                   -- what it says now, until the sink says so too (`labels_text`)
    run TEXT NOT NULL,           -- the run that saw it last, a migration's with the store it is of
    sunk INTEGER NOT NULL,       -- whether the sink has, or may have, a version of it
    batch TEXT,
    row BLOB,                    -- from EMBEDDED until STORED
    error_type TEXT, error TEXT, attempts INTEGER,
    own_fault INTEGER,           -- whether the media itself is at fault, so that trying again is no use
    changed_s REAL NOT NULL,     -- Unix time
    -- of the version that the sink has, since work on another one began and until that is written
    stored_hash TEXT, stored_identity TEXT, stored_labels TEXT,
    PRIMARY KEY (media_id, fingerprint)
);
CREATE INDEX titles_by_state ON titles (fingerprint, state);
CREATE INDEX titles_by_batch ON titles (batch) WHERE batch IS NOT NULL;
CREATE INDEX titles_to_label ON titles (fingerprint) WHERE said IS NOT NULL;
CREATE TABLE segments (
    media_id TEXT NOT NULL, fingerprint TEXT NOT NULL, content_hash TEXT NOT NULL, number INTEGER NOT NULL,
    message BLOB NOT NULL,       -- a resonance.v1.Segment
    PRIMARY KEY (media_id, fingerprint, content_hash, number)
) WITHOUT ROWID;
"""

#: What makes a journal of an earlier version one of the next.
NEXT_VERSION = {
    "1": ["ALTER TABLE titles ADD COLUMN labels TEXT"],
    "2": [
        *(
            f"ALTER TABLE titles ADD COLUMN {name} TEXT"
            for name in ("said", "stored_hash", "stored_identity", "stored_labels")
        ),
        "CREATE INDEX titles_to_label ON titles (fingerprint) WHERE said IS NOT NULL",
    ],
}
