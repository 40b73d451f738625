/* Everything of the DiT that depends on the timestep only (engine/MODEL.md, DiT): the time
 * embedding, its projection and, added to each layer's own table, the six modulation vectors of
 * every layer and the two of the head.
 *
 * All frames of a block share one timestep and there are few timesteps, so these are tables,
 * computed once in double at load (engine/MODEL.md, Exact savings).
 *
 * Thread-safety: read-only after creation. */
#ifndef KT_ENGINE_DIT_MODULATION_H
#define KT_ENGINE_DIT_MODULATION_H

#include "engine/device/device.h"
#include "engine/model/config.h"
#include "engine/weights/safetensors.h"

/* The largest entry and the largest Euclidean norm that a modulated row can have. */
struct kt_reach {
    float largest, norm;
};

struct kt_modulation {
    int rows; /* timesteps tabled */
    float
        *layer; /* [f32] [rows, layers, 6, dim]: shift, scale, gate of attention, then of the FFN */
    float *head;            /* [f32] [rows, 2, dim]: shift, scale */
    struct kt_reach *reach; /* host [layers, 2]: into attention, into the FFN, over all rows */
};

/* Row i serves timestep t[i]. Errors: of kt_safetensors_expect, -ENOMEM. */
int kt_modulation_init(struct kt_modulation *m, struct kt_device *dev,
                       const struct kt_dit_config *c, const struct kt_safetensors *st,
                       const float *t, int rows, struct kt_error *err);
void kt_modulation_finish(struct kt_modulation *m, struct kt_device *dev);

#endif
