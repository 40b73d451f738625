/* Named character entities of HTML.
 *
 * Thread-safety: pure functions. */
#ifndef KT_ENGINE_TEXT_ENTITIES_H
#define KT_ENGINE_TEXT_ENTITIES_H

#include <stddef.h>
#include <stdint.h>

enum { KT_ENTITY_NAME_MAX = 8 };

/* The longest entity at the start of `s` [n] (the text after '&'): returns how many bytes it takes,
 * its semicolon included, and its code point, or 0 when there is none. */
size_t kt_entity_find(const char *s, size_t n, uint32_t *code);

#endif
