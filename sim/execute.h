/* Carrying out one job on the simulated device's lists.
 *
 * Thread-safety: one thread at a time. */
#ifndef KT_SIM_EXECUTE_H
#define KT_SIM_EXECUTE_H

#include "sim/device.h"

/* The list work of `job`, and what it will have cost. A job that makes no sense is a fault and
 * fails with -EINVAL. */
void kt_sim_execute(struct kt_sim_device *d, double now, const struct kt_job *job,
                    struct kt_job_result *r);
/* When it is done: what the world gets to see. */
void kt_sim_deliver(struct kt_sim_device *d, double now, const struct kt_job *job,
                    struct kt_job_result *r);
void kt_sim_forget_checkpoints(struct kt_sim_device *d, int session);

#endif
