/* cmocka wants these before it. */
#ifndef KT_TESTS_PROTO_TEST_H
#define KT_TESTS_PROTO_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
