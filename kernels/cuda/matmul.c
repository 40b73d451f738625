#include "kernels/cuda/matmul.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct key { /* compared as bytes: no padding, all ints */
    int m, n, k, ld_x, ld_w, ld_y, bf16, y_f32, w_is_kn, bias, gelu, align, f8;
    float y_scale;
};

struct ktc_plan {
    struct key key;
    int usable; /* 0: cublasLt has no code for it */
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t w, x, y,
        c;         /* c: what beta would add, y's shape; y itself but for e4m3 */
    float *scales; /* device, of e4m3 products: of w, of x, of y */
    cublasLtMatmulAlgo_t algo;
    struct ktc_plan *next;
};

static void plan_free(struct ktc_plan *p)
{
    if (p->desc) {
        cublasLtMatmulDescDestroy(p->desc);
    }
    cublasLtMatrixLayout_t layouts[] = {p->w, p->x, p->y, p->c != p->y ? p->c : NULL};
    cudaFree(p->scales);
    for (int i = 0; i < 4; i++) {
        if (layouts[i]) {
            cublasLtMatrixLayoutDestroy(layouts[i]);
        }
    }
    free(p);
}

void ktc_plans_free(struct kt_queue *q)
{
    while (q->plans) {
        struct ktc_plan *next = q->plans->next;
        plan_free(q->plans);
        q->plans = next;
    }
}

/* Bytes that all addresses and rows are aligned to, at most 16. */
static int alignment(const struct ktc_product *p)
{
    const size_t in = p->f8 ? 1 : p->bf16 ? 2 : 4;
    const size_t out = p->y_scale > 0 ? 1 : p->bf16 && !p->y_f32 ? 2 : 4;
    const uintptr_t all = (uintptr_t)p->x | (uintptr_t)p->w | (uintptr_t)p->y | (uintptr_t)p->bias |
                          (size_t)p->ld_x * in | (size_t)p->ld_w * in | (size_t)p->ld_y * out;
    for (int a = 16; a > 1; a /= 2) {
        if (all % (uintptr_t)a == 0) {
            return a;
        }
    }
    return 1;
}

static struct key key_of(const struct ktc_product *p)
{
    return (struct key){p->m,    p->n,         p->k,       p->ld_x,    p->ld_w,
                        p->ld_y, p->bf16,      !!p->y_f32, p->w_is_kn, p->bias != NULL,
                        p->gelu, alignment(p), !!p->f8,    p->y_scale};
}

static int describe_f8(struct ktc_plan *plan, int m)
{
    const struct key *k = &plan->key;
    const int8_t fast = 1;
    const float scales[12] = {[0] = 1.0f, [4] = 1.0f, [8] = k->y_scale}; /* 16 bytes apart */
    if (cudaMalloc((void **)&plan->scales, sizeof(scales)) != cudaSuccess ||
        cudaMemcpy(plan->scales, scales, sizeof(scales), cudaMemcpyHostToDevice) != cudaSuccess) {
        return -ENOMEM;
    }
    float *at[3] = {plan->scales, plan->scales + 4, plan->scales + 8};
    if (cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast,
                                       sizeof(fast)) ||
        cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &at[0],
                                       sizeof(at[0])) ||
        cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &at[1],
                                       sizeof(at[1]))) {
        return -ENOMEM;
    }
    if (k->y_scale <= 0) {
        return 0;
    }
    plan->c = NULL;
    return cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_D_SCALE_POINTER, &at[2],
                                          sizeof(at[2])) ||
                   cublasLtMatrixLayoutCreate(&plan->c, CUDA_R_16BF, (uint64_t)k->n, (uint64_t)m,
                                              k->ld_y)
               ? -ENOMEM
               : 0;
}

/* cublasLt counts columns: its matrices are ours transposed. y^T [n, m] = op(w) x^T. */
static int describe(struct ktc_plan *plan, int m)
{
    const struct key *k = &plan->key;
    const cudaDataType_t in = k->f8 ? CUDA_R_8F_E4M3 : k->bf16 ? CUDA_R_16BF : CUDA_R_32F;
    const cudaDataType_t wide = k->bf16 && !k->y_f32 ? CUDA_R_16BF : CUDA_R_32F;
    const cudaDataType_t out = k->y_scale > 0 ? CUDA_R_8F_E4M3 : wide;
    const cublasOperation_t op_w = k->w_is_kn ? CUBLAS_OP_N : CUBLAS_OP_T;
    const cublasLtEpilogue_t epilogue = k->gelu   ? CUBLASLT_EPILOGUE_GELU_BIAS
                                        : k->bias ? CUBLASLT_EPILOGUE_BIAS
                                                  : CUBLASLT_EPILOGUE_DEFAULT;
    const uint64_t rows_w = (uint64_t)(k->w_is_kn ? k->n : k->k);
    const uint64_t cols_w = (uint64_t)(k->w_is_kn ? k->k : k->n);
    if (cublasLtMatmulDescCreate(&plan->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F) ||
        cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_TRANSA, &op_w,
                                       sizeof(op_w)) ||
        cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                       sizeof(epilogue)) ||
        cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &wide,
                                       sizeof(wide)) ||
        cublasLtMatrixLayoutCreate(&plan->w, in, rows_w, cols_w, k->ld_w) ||
        cublasLtMatrixLayoutCreate(&plan->x, in, (uint64_t)k->k, (uint64_t)m, k->ld_x) ||
        cublasLtMatrixLayoutCreate(&plan->y, out, (uint64_t)k->n, (uint64_t)m, k->ld_y)) {
        return -ENOMEM;
    }
    plan->c = plan->y;
    return k->f8 ? describe_f8(plan, m) : 0;
}

static int set_rows(struct ktc_plan *plan, int m)
{
    const uint64_t cols = (uint64_t)m;
    return cublasLtMatrixLayoutSetAttribute(plan->x, CUBLASLT_MATRIX_LAYOUT_COLS, &cols,
                                            sizeof(cols)) ||
                   cublasLtMatrixLayoutSetAttribute(plan->c, CUBLASLT_MATRIX_LAYOUT_COLS, &cols,
                                                    sizeof(cols)) ||
                   cublasLtMatrixLayoutSetAttribute(plan->y, CUBLASLT_MATRIX_LAYOUT_COLS, &cols,
                                                    sizeof(cols))
               ? -EIO
               : 0;
}

static int ask(struct kt_queue *q, struct ktc_plan *plan)
{
    static const cublasLtMatmulPreferenceAttributes_t ALIGNMENTS[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    const size_t workspace = KTC_LT_WORKSPACE;
    const uint32_t align = (uint32_t)plan->key.align;
    cublasLtMatmulPreference_t pref = NULL;
    cublasLtMatmulHeuristicResult_t best;
    int found = 0;
    if (cublasLtMatmulPreferenceCreate(&pref)) {
        return 0;
    }
    cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                         sizeof(workspace));
    for (int i = 0; i < 4; i++) {
        cublasLtMatmulPreferenceSetAttribute(pref, ALIGNMENTS[i], &align, sizeof(align));
    }
    const cublasStatus_t rc = cublasLtMatmulAlgoGetHeuristic(
        q->lt, plan->desc, plan->w, plan->x, plan->c, plan->y, pref, 1, &best, &found);
    cublasLtMatmulPreferenceDestroy(pref);
    if (rc != CUBLAS_STATUS_SUCCESS || found < 1 || best.state != CUBLAS_STATUS_SUCCESS) {
        return 0;
    }
    plan->algo = best.algo;
    return 1;
}

static int algo_fits(struct kt_queue *q, struct ktc_plan *plan)
{
    cublasLtMatmulHeuristicResult_t r;
    return cublasLtMatmulAlgoCheck(q->lt, plan->desc, plan->w, plan->x, plan->c, plan->y,
                                   &plan->algo, &r) == CUBLAS_STATUS_SUCCESS &&
           r.workspaceSize <= KTC_LT_WORKSPACE;
}

/* Picks the algorithm for the shared row count first, and for the plan's own where that does not
 * serve. */
static int plan_make(struct kt_queue *q, struct ktc_plan **out, const struct key *key)
{
    const int m = key->m, shared = m <= 256 ? (m + 15) / 16 * 16 : m;
    struct ktc_plan *p = calloc(1, sizeof(*p));
    if (!p) {
        return -ENOMEM;
    }
    p->key = *key;
    int rc = describe(p, shared);
    if (rc < 0) {
        plan_free(p);
        return rc;
    }
    p->usable = ask(q, p);
    if (set_rows(p, m) < 0 || (p->usable && shared != m && !algo_fits(q, p))) {
        p->usable = ask(q, p);
    }
    p->next = q->plans;
    q->plans = p;
    q->stats.allocs++;
    *out = p;
    return 0;
}

static struct ktc_plan *plan_find(struct kt_queue *q, const struct key *key)
{
    for (struct ktc_plan *p = q->plans; p; p = p->next) {
        if (memcmp(&p->key, key, sizeof(*key)) == 0) {
            return p;
        }
    }
    return NULL;
}

int ktc_matmul(struct kt_queue *q, const struct ktc_product *p)
{
    const struct key key = key_of(p);
    const float beta = 0.0f;
    if (q->plain) {
        return -EOPNOTSUPP;
    }
    struct ktc_plan *plan = plan_find(q, &key);
    int rc = plan ? 0 : plan_make(q, &plan, &key);
    if (rc < 0) {
        return rc;
    }
    if (!plan->usable) {
        return -EOPNOTSUPP;
    }
    if (p->bias) {
        cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->bias,
                                       sizeof(p->bias));
    }
    /* Never read, beta being 0; but where its type is not y's it must not be y's address. */
    const void *c = plan->c == plan->y ? p->y : q->lt_workspace;
    const cublasStatus_t status = cublasLtMatmul(
        q->lt, plan->desc, &p->alpha, p->w, plan->w, p->x, plan->x, &beta, c, plan->c, p->y,
        plan->y, &plan->algo, q->lt_workspace, KTC_LT_WORKSPACE, q->stream);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) {
        plan->usable = 0; /* the heuristic promised what the library does not take */
        snprintf(q->error, sizeof(q->error), "matrix product: %s", cublasLtGetStatusString(status));
        return -EOPNOTSUPP;
    }
    q->stats.launches++;
    return ktc_check_lt(q, status, "matrix product");
}
