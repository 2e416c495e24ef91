/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/engine.h"

const struct engine_type *engine_stand_in(const struct engine_type *engine)
{
	return engine == &engine_kvm ? &engine_jit : NULL;
}

void engine_kick(struct cpu *c)
{
	cpu_attention(c, ATTN_KICK);
	if (c->wake)
		c->wake(c->wake_opaque);
}
