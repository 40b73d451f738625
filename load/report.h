/* What a run is reported as: one JSON object, and the same numbers as a table for people.
 *
 * Latencies are milliseconds from Enter (the commit was handed to the socket) to the first picture
 * of the commit's epoch: received, decoded, shown. `drafted` (its draft was ready), `begun` and
 * `cold` are told apart by the server's `applied`. Commits that were made before anything was on
 * the screen are in neither.
 *
 * Thread-safety: one thread at a time. */
#ifndef KT_LOAD_REPORT_H
#define KT_LOAD_REPORT_H

#include "load/load.h"
#include "load/scrape.h"

#include <stdio.h>

struct json_t;

struct kt_report_facts {
    const struct kt_load_params *params;
    const char *script_path;
    struct kt_scrape before, after; /* of the server: what is not there is left out */
};

/* A new reference, or NULL without memory. Sorts the samples. */
struct json_t *kt_report_json(struct kt_load_results *r, const struct kt_report_facts *facts);
/* The table. */
void kt_report_print(const struct json_t *report, FILE *out);
/* 1 when something was broken, whatever the numbers are: a picture that does not decode, a message
 * that cannot be read, a picture of an abandoned prompt shown, a client lost, none admitted. */
int kt_report_broken(const struct kt_load_results *r);

#endif
