#include "engine/text/position_bias.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "engine/base/assert.h"

enum { BUDGET_BYTES = 32 << 20, SLOTS_MAX = 512 };

struct slot {
    int layer, n;  /* n 0: empty */
    uint64_t used; /* clock of the last use */
};

struct kt_position_bias {
    struct kt_device *dev;
    int layers, heads, text_len;
    float *by_distance; /* device [layers, heads, 2 * text_len - 1], from the farthest earlier key
                           on */
    float *memory;      /* device [slots, heads, text_len, text_len] */
    struct slot *slots;
    int slot_count;
    uint64_t clock;
};

int kt_position_bucket(int key_minus_query, int num_buckets, int max_distance)
{
    const int half = num_buckets / 2, exact = half / 2;
    const int side = key_minus_query > 0 ? half : 0;
    const int distance = abs(key_minus_query);
    int bucket = distance;

    if (distance >= exact) {
        const double ratio = log((double)distance / exact) / log((double)max_distance / exact);
        bucket = exact + (int)(ratio * (half - exact));
        bucket = bucket < half ? bucket : half - 1;
    }
    return side + bucket;
}

static int read_layer(const struct kt_position_bias *b, float *by_distance, int layer,
                      const struct kt_text_config *cfg, const struct kt_safetensors *st,
                      struct kt_error *err)
{
    const int64_t shape[] = {cfg->num_buckets, cfg->num_heads};
    const int distances = 2 * b->text_len - 1;
    float *table;
    int r = kt_safetensors_load_f32(st, &table, shape, 2, err,
                                    "blocks.%d.pos_embedding.embedding.weight", layer);

    if (r < 0) {
        return r;
    }
    for (int i = 0; i < distances; i++) {
        const int bucket =
            kt_position_bucket(i - (b->text_len - 1), cfg->num_buckets, cfg->max_distance);
        for (int h = 0; h < b->heads; h++) {
            by_distance[((size_t)layer * b->heads + h) * distances + i] =
                table[bucket * b->heads + h];
        }
    }
    free(table);
    return 0;
}

static int read_layers(struct kt_position_bias *b, const struct kt_text_config *cfg,
                       const struct kt_safetensors *st, struct kt_error *err)
{
    const size_t n = (size_t)b->layers * b->heads * (2 * b->text_len - 1);
    float *host = malloc(n * sizeof(*host));
    int r = host ? 0 : kt_fail(err, -ENOMEM, "out of memory for the position bias");

    for (int layer = 0; r == 0 && layer < b->layers; layer++) {
        r = read_layer(b, host, layer, cfg, st, err);
    }
    if (r == 0) {
        b->by_distance = kt_device_alloc_f32(b->dev, host, n, "text position bias by distance");
        r = b->by_distance ? 0 : kt_fail(err, -ENOMEM, "out of memory for the position bias");
    }
    free(host);
    return r;
}

static size_t slot_floats(const struct kt_position_bias *b)
{
    return (size_t)b->heads * b->text_len * b->text_len;
}

static int count_slots(const struct kt_position_bias *b)
{
    const size_t affordable = BUDGET_BYTES / (slot_floats(b) * sizeof(float));
    const size_t needed = (size_t)b->layers * b->text_len;
    size_t slots = affordable < needed ? affordable : needed;

    slots = slots < SLOTS_MAX ? slots : SLOTS_MAX;
    return slots > 0 ? (int)slots : 1;
}

int kt_position_bias_open(struct kt_position_bias **bias, struct kt_device *dev,
                          const struct kt_text_config *cfg, const struct kt_safetensors *st,
                          struct kt_error *err)
{
    struct kt_position_bias *b = calloc(1, sizeof(*b));
    int r = 0;

    *bias = NULL;
    if (!b) {
        return kt_fail(err, -ENOMEM, "out of memory for the position bias");
    }
    b->dev = dev;
    b->layers = cfg->num_layers;
    b->heads = cfg->num_heads;
    b->text_len = cfg->text_len;
    b->slot_count = count_slots(b);
    b->slots = calloc((size_t)b->slot_count, sizeof(*b->slots));
    b->memory =
        kt_device_alloc(dev, b->slot_count * slot_floats(b) * sizeof(float), "text position bias");
    if (!b->slots || !b->memory) {
        r = kt_fail(err, -ENOMEM, "out of memory for the position bias");
    }
    if (r == 0) {
        r = read_layers(b, cfg, st, err);
    }
    if (r < 0) {
        kt_position_bias_close(&b);
        return r;
    }
    *bias = b;
    return 0;
}

void kt_position_bias_close(struct kt_position_bias **bias)
{
    if (!bias || !*bias) {
        return;
    }
    kt_device_free((*bias)->dev, (*bias)->memory);
    kt_device_free((*bias)->dev, (*bias)->by_distance);
    free((*bias)->slots);
    free(*bias);
    *bias = NULL;
}

/* The slot that holds (layer, n), or the one to fill: empty or least recently used. */
static int find_slot(const struct kt_position_bias *b, int layer, int n)
{
    int oldest = 0;

    for (int i = 0; i < b->slot_count; i++) {
        if (b->slots[i].n == n && b->slots[i].layer == layer) {
            return i;
        }
        if (b->slots[i].used < b->slots[oldest].used) {
            oldest = i;
        }
    }
    return oldest;
}

const float *kt_position_bias_get(struct kt_position_bias *b, int layer, int n)
{
    KT_ASSERT(layer >= 0 && layer < b->layers && n >= 1 && n <= b->text_len);
    const int i = find_slot(b, layer, n);
    struct slot *slot = &b->slots[i];
    float *memory = b->memory + i * slot_floats(b);

    if (slot->n != n || slot->layer != layer) {
        const int reach = b->text_len - 1;
        const float *table =
            b->by_distance + (size_t)layer * (size_t)b->heads * (2 * (size_t)reach + 1);
        slot->n = 0;
        if (b->dev->k.distance_bias(b->dev->q, memory, table, b->heads, n, reach) < 0) {
            return NULL;
        }
        slot->n = n;
        slot->layer = layer;
    }
    slot->used = ++b->clock;
    return memory;
}
