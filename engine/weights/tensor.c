#include "engine/weights/tensor.h"

#include <errno.h>
#include <stdio.h>

#include "engine/weights/dtype.h"

struct kt_shape_text kt_shape_show(const int64_t *shape, int rank)
{
    struct kt_shape_text s = {"["};
    size_t n = 1;

    for (int i = 0; i < rank; i++) {
        n += (size_t)snprintf(s.text + n, sizeof(s.text) - n, "%s%lld", i ? ", " : "",
                              (long long)shape[i]);
    }
    snprintf(s.text + n, sizeof(s.text) - n, "]");
    return s;
}

int kt_tensor_measure(struct kt_tensor *t)
{
    size_t count = 1, bytes;
    int empty = 0;

    for (int i = 0; i < t->rank; i++) {
        const int64_t n = t->shape[i];
        empty |= n == 0;
        if (n < 0 || (n != 0 && __builtin_mul_overflow(count, (size_t)n, &count))) {
            return -EOVERFLOW;
        }
    }
    if (__builtin_mul_overflow(count, kt_dtype_size(t->dtype), &bytes) || bytes > PTRDIFF_MAX) {
        return -EOVERFLOW;
    }
    t->count = empty ? 0 : count;
    t->bytes = empty ? 0 : bytes;
    return 0;
}
