/* What the two directions of the protocol write alike; inside of proto/ only.
 *
 * Thread-safety: pure functions. */
#ifndef KT_PROTO_JSON_H
#define KT_PROTO_JSON_H

#include <stdint.h>

struct json_t;

extern const char *const kt_cut_names[], *const kt_transition_names[]; /* end with NULL */

/* As kt_change.recache: "full", "checkpoint" or a number. A new reference, or NULL. */
struct json_t *kt_json_recache(int64_t recache);

#endif
