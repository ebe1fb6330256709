/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `judge`: what lies in the staging area against what it is to become. Nobody
 * else can touch a staged page, so what is equal here stays so. Never lets two
 * pages be one for the sake of their hash.
 */
#include "engine/judge.h"

#include <errno.h>

#include "engine/bridge.h"
#include "engine/chain.h"
#include "engine/nodes.h"
#include "engine/state.h"

/* What a leg's staged page is to equal. */
static const char *model_of(const struct tf_batch *b, const struct tf_leg *l)
{
	const struct tf_engine *e = b->engine;

	switch ((enum tf_leg_kind)l->kind) {
	case TF_LEG_ZERO:
		return e->zero_page;
	case TF_LEG_JOIN:
	case TF_LEG_GROW:
		return tf_slot_bytes(l->block->region->store,
				     tf_dup_get(e, l->dup)->slot);
	case TF_LEG_PAIR:
		return tf_stage(e->staging, l->mate->stage);
	case TF_LEG_MATE:
	case TF_LEG_BRIDGE:
		break;
	}
	return NULL;
}

int tf_judge_hash(const struct tf_batch *b, const struct tf_leg *l,
		  uint64_t *ret)
{
	const struct tf_engine *e = b->engine;
	const struct tf_store *s = l->block->region->store;
	const char *staged = tf_stage(e->staging, l->stage);
	uint64_t hash;
	int err = e->os->hash(e->os, staged, s->secret, &hash);

	if (err)
		return err;
	if (hash != s->zero_hash)
		hash = tf_node_hash(e, staged, hash);
	*ret = hash;
	return 0;
}

/*
 * Both pages of a pair may have become something else since they were hashed,
 * and the same. Then others with that hash would be compared with the wrong
 * bytes for as long as the pair shares them.
 */
static int judge_pair(const struct tf_batch *b, const struct tf_leg *l)
{
	uint64_t hash;
	int err = tf_judge_hash(b, l, &hash);

	if (err)
		return err;
	return hash == l->hash ? 0 : -EAGAIN;
}

/* 0, or why the leg is undone. */
static int judge(const struct tf_batch *b, struct tf_leg *l)
{
	const struct tf_os *os = b->engine->os;
	int equal;

	if (l->kind == TF_LEG_BRIDGE)
		return tf_bridge_judge(b, l);
	equal = os->equal(os, tf_stage(b->engine->staging, l->stage),
			  model_of(b, l), TF_PAGE);
	if (equal < 0)
		return equal;
	if (!equal)
		return -EAGAIN;
	return l->kind == TF_LEG_PAIR ? judge_pair(b, l) : 0;
}

void tf_judge_all(struct tf_batch *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		struct tf_leg *l = &b->leg[i];
		int err;

		if (l->err || l->kind == TF_LEG_MATE)
			continue;
		err = judge(b, l);
		if (err)
			tf_leg_fail(l, err);
	}
}
