/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_regress_pins.c -- frames that are pinned, and calls that free them
 *
 * Faults the kernel had here:
 *
 *   scan_meets_a_locked_entry		the scan for pinned frames skipped entries
 *					that were locked, and the fix skipped the
 *					one it had waited for: a busy page was
 *					missed.  Here the scan runs when nobody
 *					can hold an entry, and asks the block map
 *   collision_of_truncate_and_pins	blocks were freed and used again under
 *					pages that somebody had pinned
 */
#include "invariants.h"
#include "step.h"
#include "white_box.h"

enum { PAGES = 8 };

/* ---- the scan ------------------------------------------------------------------ */

struct pinner {
	struct step step;
	int write;
	struct dax_pin pin;
	ssize_t ret;
};

static void pin_body(void *arg)
{
	struct pinner *p = arg;

	p->ret = dax_pin_pages(fx.file, 3 * DAX_PAGE_SIZE, 1, p->write, &p->pin);
}

struct scanner {
	struct step step;
	int ret;
	dax_pgoff_t index;
};

static void scan_body(void *arg)
{
	struct scanner *s = arg;

	s->ret = dax_layout_busy_page_range(fx.file, 0, PAGES, &s->index, NULL);
}

/* A pin is on its way, with its entry locked or its frame not yet counted, when
 * a scan begins: the scan must find it. */
static void scan_beside_pin(int write, int point)
{
	struct pinner p = { .write = write };
	struct scanner s = { 0 };
	char byte = 'f';

	fx_open_real(PAGES);
	EQ(dax_mapping_pwrite(fx.file, &byte, 1, 3 * DAX_PAGE_SIZE), 1);
	dax_test = (struct dax_test_hooks){ .yield = step_yield, .no_spin = true };
	step_start(&p.step, pin_body, &p, point);
	MUST(step_parked(&p.step));
	step_start(&s.step, scan_body, &s, STEP_NOWHERE);
	for (int i = 0; i < 1000; i++)
		sched_yield();
	CHECK(!step_finished(&s.step));		/* it waits for who is inside */
	step_go(&p.step, STEP_NOWHERE);
	step_join(&p.step);
	step_join(&s.step);
	dax_test = (struct dax_test_hooks){ 0 };
	EQ(p.ret, 1);
	EQ(s.ret, 1);
	EQ(s.index, 3);
	EQ(dax_unpin_pages(&p.pin, 0), 0);
	check_invariants(fx.file);
	fx_close();
}

static void scan_meets_a_locked_entry(void)
{
	scan_beside_pin(1, DAX_TEST_AFTER_GRAB);
	scan_beside_pin(1, DAX_TEST_UNMAP_REPLACE);
	scan_beside_pin(0, DAX_TEST_FRAME_SEEN);
	scan_beside_pin(0, DAX_TEST_FRAME_PINNED);
}

/* ---- collision -------------------------------------------------------------------- */

enum { ROUNDS = 3000 };

static struct dax_mapping *thief;
static _Atomic bool stop;

/* Frees the pages of the file and lets another file take the blocks. */
static void *truncater(void *arg)
{
	static const char x[PAGES * DAX_PAGE_SIZE] = "x";
	long wrong = 0;

	(void)arg;
	while (!READ_ONCE(stop)) {
		wrong += dax_mapping_truncate(fx.file, 0) != 0;
		wrong += dax_mapping_pwrite(thief, x, sizeof(x), 0) <= 0;
		wrong += dax_mapping_punch_hole(thief, 0, sizeof(x)) != 0;
		wrong += dax_mapping_truncate(fx.file, PAGES * DAX_PAGE_SIZE) != 0;
	}
	return (void *)wrong;
}

/* Bytes stored to a pinned page are there until it is unpinned, whatever the
 * other thread does; as t_mmap_collision does with direct I/O. */
static unsigned int pin_once(unsigned int round)
{
	char value = (char)(1 + round % 100);
	struct dax_pin pin;
	ssize_t n = dax_pin_pages(fx.file, (dax_loff_t)(round % PAGES) * DAX_PAGE_SIZE,
				  2 * DAX_PAGE_SIZE, 1, &pin);
	unsigned int wrong = n < 0 && n != -ENOSPC;

	if (n <= 0)
		return wrong;
	memset(pin.kaddr, value, (size_t)n);
	for (int turn = 0; turn < 3; turn++) {
		sched_yield();
		for (ssize_t i = 0; i < n; i += 512)
			wrong += ((volatile char *)pin.kaddr)[i] != value;
	}
	return wrong + (dax_unpin_pages(&pin, 1) != 0);
}

static void collision_of_truncate_and_pins(void)
{
	struct dax_mapping_attr attr = { .struct_size = sizeof(attr),
					 .size = PAGES * DAX_PAGE_SIZE };
	unsigned int wrong = 0;
	pthread_t thread;
	void *other;

	fx_open_real(PAGES);
	MUST(!dax_mapping_new(&thief, fx.dev, &attr));
	stop = false;
	MUST(!pthread_create(&thread, NULL, truncater, NULL));
	for (unsigned int i = 0; i < ROUNDS; i++)
		wrong += pin_once(i);
	stop = true;
	pthread_join(thread, &other);
	EQ(wrong, 0);
	EQ((long)other, 0);
	CHECK(!frames_any_buffer());
	check_invariants(fx.file);
	check_owners(fx.dev, (struct dax_mapping *[]){ fx.file, thief }, 2);
	dax_mapping_put(thief);
	fx_close();
}

int main(void)
{
	plan(2);
	run("the scan meets a locked entry, and pins on their way",
	    scan_meets_a_locked_entry);
	run("3000 pins beside truncate and reuse", collision_of_truncate_and_pins);
	return done();
}
