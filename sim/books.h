/* Book-keeping of device time: every millisecond is useful when somebody saw what it made, else
 * wasted.
 *
 * Thread-safety: one thread at a time. */
#ifndef KT_SIM_BOOKS_H
#define KT_SIM_BOOKS_H

#include "sim/device.h"

/* Time spent on a track by one job. */
void kt_sim_charge(struct kt_sim_device *d, struct kt_sim_place *s, const struct kt_job *job,
                   const struct kt_job_result *r);
/* Frames before `sent` were handed to the wire. */
void kt_sim_seen(struct kt_sim_device *d, struct kt_sim_place *s, int64_t sent);
/* NEXT becomes LIVE from `frame` on; called before the streams change places. */
void kt_sim_promoted(struct kt_sim_device *d, struct kt_sim_place *s, int64_t frame, int flush);
/* Latents of LIVE from `at` on, and its block in flight, are thrown away. */
void kt_sim_trimmed(struct kt_sim_device *d, struct kt_sim_track *t, int64_t at);
/* All of it is thrown away. */
void kt_sim_dropped(struct kt_sim_device *d, struct kt_sim_track *t);
double kt_sim_track_undecided_ms(const struct kt_sim_track *t);

/* Frames of the stream before latent `i`, and the latent that a frame belongs to. */
int64_t kt_sim_frames_before(const struct kt_sim_device *d, int64_t latent);
int64_t kt_sim_latent_of(const struct kt_sim_device *d, int64_t frame);

#endif
