/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copy_mc.c -- touch the medium and survive it
 *
 * Owns: the SIGBUS handler, once armed, for the life of the process.
 * Locks: arm_lock to install it.
 * Kernel: copy_mc_to_kernel(), and the exception table behind it.
 * Differs: the exception table is a jump buffer of the thread.
 */
#define _GNU_SOURCE
#include "copy_mc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdint.h>

#include "errormsg.h"
#include "move.h"
#include "sys.h"

static struct mutex arm_lock;
static _Atomic bool armed;
static struct sigaction before;
static _Atomic(sigbus_fn) ask_first;

/* A copy in progress: where to go on, and what of it is the caller's memory. */
struct guard {
	struct guard *outer;	/* a signal handler of ours copies, too */
	sigjmp_buf recovery;
	const char *user;
	size_t n;
	volatile int error;	/* set by the handler */
};

/* Set while the thread is inside a guarded copy. */
static __thread struct guard *volatile guard;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	sigbus_fn fn = smp_load_acquire(&ask_first);
	struct guard *g = guard;

	if (fn && fn(info, context))
		return;
	if (!g) {
		sys_pass_signal(&before, sig, info, context);
		return;
	}
	g->error = (uintptr_t)info->si_addr - (uintptr_t)g->user < g->n ? -EFAULT
									 : -EIO;
	siglongjmp(g->recovery, 1);
}

int copy_mc_arm(void)
{
	/* NODEFER: the jump leaves the signal mask as it was.  No ONSTACK: what
	 * asks first serves whole faults, for which the alternate stack of others
	 * is too small, and no stack overflow is SIGBUS. */
	struct sigaction action = {
		.sa_sigaction = on_sigbus,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};
	int ret = 0;

	mutex_lock(&arm_lock);
	if (!READ_ONCE(armed)) {
		ret = sys_set_signal(SIGBUS, &action, &before);
		if (!ret)
			smp_store_release(&armed, true);
	}
	mutex_unlock(&arm_lock);
	return ret;
}

void copy_mc_ask_first(sigbus_fn fn)
{
	smp_store_release(&ask_first, fn);
}

static __cold int refused(const struct guard *g)
{
	int error = g->error;

	guard = g->outer;
	if (error == -EFAULT)
		return dax_error(error, "the caller's buffer cannot be accessed (SIGBUS): "
				 "it maps a file that was truncated, or the like");
	return dax_error(error, "the medium refused an access (SIGBUS): the backing file "
			 "was truncated, its file system is full, or it is broken");
}

static int guarded(move_fn move, void *to, const void *from, size_t n,
		   const void *user)
{
	struct guard g = { .outer = guard, .user = user, .n = n };

	if (sigsetjmp(g.recovery, 0))
		return refused(&g);
	guard = &g;
	barrier();	/* a volatile store holds back no other */
	move(to, from, n);
	barrier();
	guard = g.outer;
	return 0;
}

int copy_mc(void *to, const void *from, size_t n)
{
	if (smp_load_acquire(&armed))
		return guarded(move_bytes, to, from, n, to);
	move_bytes(to, from, n);
	return 0;
}

int move_mc(move_fn move, void *to, const void *from, size_t n)
{
	if (smp_load_acquire(&armed))
		return guarded(move, to, from, n, from);
	move(to, from, n);
	return 0;
}

/* A compare-and-swap is a store to the MMU, whatever it finds; one that adds
 * nothing a compiler may take for a load.  Nor is there a load before it, which
 * would be a fault of its own. */
static void touch_byte(void *page, const void *unused, size_t n)
{
	_Atomic char *byte = page;
	char old = 0;

	(void)unused;
	(void)n;
	atomic_compare_exchange_strong(byte, &old, old);
}

int touch_mc(void *page)
{
	return move_mc(touch_byte, page, NULL, 1);
}
