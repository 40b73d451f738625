/* The hub: every client and every session, who gets a place, and whom an event is for.
 *
 * Thread-safety: belongs to the loop thread. */
#ifndef KT_SERVER_HUB_H
#define KT_SERVER_HUB_H

#include "server/http.h"
#include "server/loop.h"
#include "server/session.h"

struct kt_hub;

/* `live` and `site` stay the caller's. -ENOMEM. */
int kt_hub_create(struct kt_hub **hub, struct kt_live *live, const struct kt_site *site,
                  struct kt_error *err);
/* After the loop is shut: no clients are left. Lets every frame go, so that worker and lane may be
 * closed. */
void kt_hub_drop(struct kt_hub *hub);
void kt_hub_destroy(struct kt_hub **hub);
void kt_hub_handlers(struct kt_hub *hub, struct kt_loop_handlers *out);
/* Called once with the loop that it may stop (when the model's warm-up fails). */
void kt_hub_set_loop(struct kt_hub *hub, struct kt_loop *loop);
/* 1 when the lane said that it failed. */
int kt_hub_failed(const struct kt_hub *hub);
/* Sessions that are not free. */
int kt_hub_sessions(const struct kt_hub *hub);

#endif
