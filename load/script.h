/* A typing script: what one person does at the prompt, read from a file of JSON lines.
 *
 * One action a line; blank lines and lines that begin with // are skipped. Every action happens
 * after a time in milliseconds; keys come 120 to 250 ms apart, drawn by the run's seed.
 *
 *   {"do": "wait", "ms": 2000}                    looks at the picture
 *   {"do": "select"}                              everything; what is typed next replaces it
 *   {"do": "select", "text": "red"}               the first place where these words stand
 *   {"do": "caret", "after": "heart"}             a click; without "after": at the end
 *   {"do": "type", "text": "a red hert"}          one key for each code point
 *   {"do": "paste", "text": "A long prompt ..."}  all at once
 *   {"do": "erase", "keys": 2}                    backspace
 *   {"do": "enter", "pause_ms": 640}              commits, so long after the last key
 *
 * select, caret and paste take 300 ms unless "ms" says otherwise. A script starts over when it
 * ends, so the first action must be a select of everything; a client may begin at any of these.
 * Reading plays the script once: a place that is not in the text, a backspace too many, Enter on an
 * empty text are errors with their line.
 *
 * Thread-safety: read-only after reading. */
#ifndef KT_LOAD_SCRIPT_H
#define KT_LOAD_SCRIPT_H

#include "engine/base/error.h"

#include <stddef.h>

enum {
    KT_SCRIPT_BYTES_MAX = 4 << 20,
    KT_SCRIPT_ACTIONS_MAX = 65536,
    KT_SCRIPT_MS_MAX = 600000,
    KT_SCRIPT_SELECT_MS = 300,
};

enum kt_action_kind {
    KT_ACTION_WAIT,
    KT_ACTION_SELECT,
    KT_ACTION_CARET,
    KT_ACTION_TYPE,
    KT_ACTION_PASTE,
    KT_ACTION_ERASE,
    KT_ACTION_ENTER,
    KT_ACTION_COUNT
};

struct kt_action {
    enum kt_action_kind kind;
    int line;   /* from 1 */
    int ms;     /* before it happens; unused for TYPE and ERASE */
    int keys;   /* ERASE */
    char *text; /* owned; SELECT: NULL is everything; CARET: NULL is the end */
};

struct kt_script {
    struct kt_action *actions;
    int count, enters, starts; /* starts: selects of everything */
};

/* Errors: those of kt_file_read; -EINVAL with the file and line. */
int kt_script_read(struct kt_script *s, const char *path, struct kt_error *err);
/* The same from memory; `name` stands for the file in messages. */
int kt_script_parse(struct kt_script *s, const char *data, size_t n, const char *name,
                    struct kt_error *err);
void kt_script_free(struct kt_script *s);
/* Index of the action that is start number i modulo `starts`. */
int kt_script_start(const struct kt_script *s, int i);

#endif
