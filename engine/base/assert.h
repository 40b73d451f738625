/* Assertions that stay alive in release builds: they state what the code itself guarantees. A
 * broken one is a bug of ours, never a user's mistake (that is what kt_error is for), so it prints
 * and traps. */
#ifndef KT_ENGINE_BASE_ASSERT_H
#define KT_ENGINE_BASE_ASSERT_H

#define KT_ASSERT(expr)                                                                            \
    do {                                                                                           \
        if (__builtin_expect(!(expr), 0)) {                                                        \
            kt_assert_failed(#expr, __FILE__, __LINE__, __func__);                                 \
        }                                                                                          \
    } while (0)

_Noreturn void kt_assert_failed(const char *expr, const char *file, int line, const char *func);

#endif
