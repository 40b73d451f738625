/* "Did you mean ...?": the listed name that is fewest typing slips away. */
#ifndef KT_PROTO_NEAREST_H
#define KT_PROTO_NEAREST_H

/* `names` ends with NULL. Returns the nearest (edit distance; the first of equals), or NULL when
 * the list is empty. */
const char *kt_nearest_name(const char *name, const char *const *names);

#endif
