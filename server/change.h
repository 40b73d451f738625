/* A session's settings: how prompts take effect and what is made ahead of them, from the words of
 * the protocol to the lane's.
 *
 * Thread-safety: pure functions. */
#ifndef KT_SERVER_CHANGE_H
#define KT_SERVER_CHANGE_H

#include "engine/sched/board.h"
#include "proto/control.h"

/* What a session starts with: everything that is not the server's to configure. */
struct kt_settings kt_settings_default(void);

/* Takes over what `set` says. `window`: the model's, latents. 0, or -EBADMSG with the fault and
 * nothing changed. */
int kt_settings_set(struct kt_settings *s, const struct kt_client_message *m, int window,
                    struct kt_fault *fault);

/* -EBADMSG when `c` asks for more than the model has. */
int kt_change_check(const struct kt_change *c, int window, const char *message,
                    struct kt_fault *fault);
/* What `c` leaves out is as the settings say. */
struct kt_change kt_change_merge(const struct kt_change *settings, const struct kt_change *c);
/* A prompt of this revision, taking effect so. `c` leaves nothing out. */
struct kt_wish kt_change_wish(const struct kt_change *c, uint32_t revision);

#endif
