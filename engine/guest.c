/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guests. Owns struct tf_guest; their memslots are memslot.c's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/leftover.h"
#include "engine/memslot.h"
#include "engine/opts.h"
#include "engine/state.h"

static void guest_free(struct tf_guest *g)
{
	free(g->name);
	free(g->domain);
	free(g->pins);
	free(g);
}

int tf_guest_create(struct tf_engine *e, const struct tf_guest_opts *opts,
		    struct tf_guest **ret)
{
	struct tf_guest_opts o = { .size = sizeof(o) };
	struct tf_guest *g;
	int err = tf_opts_copy(&o, sizeof(o), opts);

	if (err)
		return err;
	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->engine = e;
	g->name = strdup(o.name ? o.name : "guest");
	g->domain = o.trust_domain ? strdup(o.trust_domain) : NULL;
	g->io_declared = o.io_declared;
	tf_list_init(&g->regions);
	if (!g->name || (o.trust_domain && !g->domain)) {
		guest_free(g);
		return -ENOMEM;
	}
	pthread_mutex_lock(&e->lock);
	tf_list_append(&e->guests, &g->link);
	pthread_mutex_unlock(&e->lock);
	*ret = g;
	return 0;
}

void tf_guest_destroy(struct tf_guest *g)
{
	struct tf_engine *e;

	if (!g)
		return;
	e = g->engine;
	pthread_mutex_lock(&e->lock);
	while (!tf_list_empty(&g->regions))
		tf_memslot_remove(tf_container_of(g->regions.next,
						  struct tf_region, link));
	tf_leftover_fini(g);
	tf_list_remove(&g->link);
	if (e->guest_gone)
		e->guest_gone(e, g);
	pthread_mutex_unlock(&e->lock);
	guest_free(g);
}

void tf_guest_abandon(struct tf_guest *g)
{
	while (!tf_list_empty(&g->regions))
		tf_memslot_abandon(tf_container_of(g->regions.next,
						   struct tf_region, link));
	tf_leftover_fini(g);
	tf_list_remove(&g->link);
	guest_free(g);
}
