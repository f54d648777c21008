/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_rounds_entry_lock.c -- the entry lock, round by round
 *
 * Four actors stand around one entry: a fault that takes it, a truncate that
 * takes and deletes it, and two writebacks that take and clean it, or leave
 * it alone when it is gone or clean already.  Each does one operation, then
 * all meet and the wait queues must be empty.  In a loop without rounds the
 * wake-ups of the next operation would heal one that was lost.
 *
 * Every scenario runs in a child process with its own hooks; a watchdog ends
 * a round in which somebody sleeps though the entry is not locked.
 *
 * Two rules keep wake-ups from being lost.  A delete wakes all, and whoever
 * is woken and does not lock passes the wake-up on.  Passing on covers every
 * schedule by itself as long as every caller keeps to it, since the slot
 * remembers the key it was woken for; waking all covers the callers that
 * leave a gone entry without a word, as v4.14 does.  So the second rule is
 * taken out under callers who keep to the contract, and the first under
 * callers like v4.14's: with either gone, somebody sleeps for ever.
 */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <time.h>

#include "white_box.h"
#include "invariants.h"

enum { ACTORS = 4, ROUNDS = 3000, PATIENCE = 30, HUNG = 3, STUCK = 4 };

enum shape { PTE, PMD, DOWNGRADE };

struct scenario {
	enum shape shape;
	bool no_spin;
	bool no_membarrier;
	bool mute;		/* callers do not pass on when nothing is there */
	enum dax_test_mutation mutation;
};

static struct scenario scenario;
static _Atomic uint32_t round_nr;
static _Atomic unsigned int finished;
static sem_t round_over;
static __thread unsigned int seed;

static void pause_for(unsigned int n)
{
	while (n--)
		cpu_relax();
}

/* Any thread may be held up at any named point. */
static void random_yield(enum dax_test_point point)
{
	(void)point;
	switch (rnd(&seed, 4)) {
	case 0:
		sched_yield();
		break;
	case 1:
		pause_for(rnd(&seed, 300));
		break;
	default:
		break;
	}
}

/* ---- the entry ------------------------------------------------------------------ */

static dax_pgoff_t base(void)
{
	return scenario.shape == PTE ? 5 : PMD_PAGES;
}

/* Any page of the entry: it has one lock and one key. */
static dax_pgoff_t any_page(void)
{
	return scenario.shape == PTE ? 5 : PMD_PAGES + rnd(&seed, PMD_PAGES);
}

/* The holder stays until a few of the others sleep, or for a while. */
static void linger(void)
{
	struct exceptional_entry_key key = { .owner = fx.file, .entry_start = base() };
	unsigned int nr = rnd(&seed, ACTORS);

	for (int i = 0; i < 50 && wait_count(key) < nr; i++)
		sched_yield();
}

/* Between rounds: the entry is there, unlocked and dirty (if it can be). */
static void set_up_round(void)
{
	unsigned int flags = scenario.shape == PTE ? 0 : DAX_PMD;
	struct radix_tree_iter iter;

	MUST(!mapping_lock_exclusive(fx.file));
	forget_entries(0, 4 * PMD_PAGES);
	mapping_unlock_exclusive(fx.file);
	if (scenario.shape == DOWNGRADE) {
		plant(base(), 0, DAX_PMD | DAX_EMPTY);
		return;
	}
	plant(base(), device_pfn(PMD_PAGES), flags);
	iter = place(base());
	radix_tree_tag_set(&iter, DAX_PAGECACHE_TAG_DIRTY);
}

/* ---- the actors -------------------------------------------------------------------- */

static void leave_unlocked(struct dax_slot *slot)
{
	if (!scenario.mute || slot->iter.entry)
		put_unlocked_mapping_entry(slot);
}

/* PTE for a PTE entry, PMD for a PMD entry, and a PTE into a PMD entry. */
static void fault(struct dax_slot *slot)
{
	unsigned int order = scenario.shape == PMD ? DAX_PMD_ORDER : 0;

	if (grab_mapping_entry(slot, order))
		return;
	linger();
	put_locked_mapping_entry(slot);
}

static bool take(struct dax_slot *slot)
{
	do {
		if (!get_unlocked_mapping_entry(slot)) {
			leave_unlocked(slot);
			return false;
		}
		random_yield(DAX_TEST_AFTER_GRAB);
	} while (!lock_slot(slot));
	linger();
	return true;
}

static void truncate_like(struct dax_slot *slot)
{
	if (take(slot))
		dax_delete_locked_entry(slot);
}

/* In the downgrade scenario the second actor is a PMD fault instead: it waits
 * for the PMD entry and then finds 4 KiB entries in its place. */
static void remove_or_fall_back(struct dax_slot *slot)
{
	if (scenario.shape != DOWNGRADE) {
		truncate_like(slot);
		return;
	}
	if (grab_mapping_entry(slot, DAX_PMD_ORDER))
		return;
	linger();
	put_locked_mapping_entry(slot);
}

/* As in writeback: what another cleaned already is left alone. */
static void writeback(struct dax_slot *slot)
{
	do {
		void *entry = get_unlocked_mapping_entry(slot);

		if (!entry ||
		    (scenario.shape != DOWNGRADE &&
		     !radix_tree_tag_get(&slot->iter, DAX_PAGECACHE_TAG_DIRTY))) {
			leave_unlocked(slot);
			return;
		}
	} while (!lock_slot(slot));
	linger();
	radix_tree_tag_clear(&slot->iter, DAX_PAGECACHE_TAG_DIRTY);
	put_locked_mapping_entry(slot);
}

static void (*const operations[ACTORS])(struct dax_slot *slot) = {
	fault, remove_or_fall_back, writeback, writeback,
};

static void act(unsigned int actor)
{
	struct percpu_area *area;
	struct dax_slot slot;

	pause_for(rnd(&seed, 1000));
	MUST(!mapping_lock_shared(fx.file, &area));
	dax_slot_init(&slot, fx.file, area, any_page());
	operations[actor](&slot);
	mapping_unlock_shared(fx.file, area);
}

static void *actor_main(void *arg)
{
	unsigned int actor = (unsigned int)(uintptr_t)arg;

	for (uint32_t last = 0; last < ROUNDS; last++) {
		while (atomic_load(&round_nr) == last)
			futex_wait(&round_nr, last);
		seed = last * ACTORS + actor;
		act(actor);
		if (atomic_fetch_add(&finished, 1) == ACTORS - 1)
			sem_post(&round_over);
	}
	return NULL;
}

/* ---- the rounds ------------------------------------------------------------------------ */

static bool round_ends_in_a_second(void)
{
	struct timespec deadline;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec++;
	while (sem_timedwait(&round_over, &deadline))
		if (errno != EINTR)
			return false;
	return true;
}

/* Somebody sleeps for an entry that is not locked, or not there. */
static bool wake_up_is_lost(void)
{
	return READ_ONCE(fx.file->nr_waiters) && !(word_at(base()) & DAX_LOCKED);
}

/* 0, or what kept the round from its end: the same sight twice, a second
 * apart, or a machine too slow to say. */
static int wait_for_end_of_round(void)
{
	unsigned int lost = 0;

	for (int i = 0; i < PATIENCE; i++) {
		if (round_ends_in_a_second())
			return 0;
		lost = wake_up_is_lost() ? lost + 1 : 0;
		if (lost == 2)
			return HUNG;
	}
	return STUCK;
}

static void report_hang(uint32_t nr)
{
	printf("# round %u of %d: %u of %d actors came to their end, %u sleep, "
	       "entry %#" PRIx64 "\n", nr, ROUNDS, READ_ONCE(finished), ACTORS,
	       READ_ONCE(fx.file->nr_waiters), word_at(base()));
	fflush(stdout);
}

static void check_round(uint32_t nr)
{
	struct exceptional_entry_key key = { .owner = fx.file };

	for (key.entry_start = base(); key.entry_start < base() + PMD_PAGES;
	     key.entry_start++) {
		if (wait_count(key))
			printf("# round %u: somebody waits for %" PRIu64 "\n", nr,
			       key.entry_start);
		CHECK(!wait_count(key));
		if (scenario.shape == PTE)
			break;
	}
	EQ(READ_ONCE(fx.file->nr_waiters), 0);
	CHECK(!(word_at(base()) & DAX_LOCKED));
	check_tree_and_leaves(fx.file);
}

static void play(void)
{
	pthread_t threads[ACTORS];
	int status;

	for (uintptr_t i = 0; i < ACTORS; i++)
		MUST(!pthread_create(&threads[i], NULL, actor_main, (void *)i));
	for (uint32_t nr = 1; nr <= ROUNDS; nr++) {
		set_up_round();
		atomic_store(&finished, 0);
		atomic_store(&round_nr, nr);
		futex_wake(&round_nr, ACTORS);
		status = wait_for_end_of_round();
		if (status) {
			report_hang(nr);
			_exit(status);
		}
		check_round(nr);
	}
	for (int i = 0; i < ACTORS; i++)
		pthread_join(threads[i], NULL);
}

/* In the child: no object is older than the hooks. */
static int child(void)
{
	dax_test.yield = random_yield;
	dax_test.no_spin = scenario.no_spin;
	dax_test.no_membarrier = scenario.no_membarrier;
	dax_test.mutation = scenario.mutation;
	sem_init(&round_over, 0, 0);
	fx_open(4 * PMD_PAGES);
	play();
	fx_close();
	return tap_bad != 0;
}

/* Exit status of the scenario: 0, HUNG, or a failure. */
static int play_in_child(struct scenario s)
{
	int status;
	pid_t pid;

	scenario = s;
	fflush(stdout);
	pid = fork();
	MUST(pid >= 0);
	if (pid == 0)
		exit(child());
	MUST(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- with all rules ---------------------------------------------------------------------- */

static void no_round_hangs(enum shape shape, bool mute)
{
	for (int i = 0; i < 4; i++)
		EQ(play_in_child((struct scenario){
			   .shape = shape, .no_spin = i & 1, .no_membarrier = i & 2,
			   .mute = mute }), 0);
}

static void pte_entry(void)
{
	no_round_hangs(PTE, false);
}

static void pmd_entry(void)
{
	no_round_hangs(PMD, false);
}

static void downgraded_entry(void)
{
	no_round_hangs(DOWNGRADE, false);
}

static void mute_callers(void)
{
	EQ(play_in_child((struct scenario){
		   .shape = PTE, .no_spin = true, .mute = true }), 0);
	EQ(play_in_child((struct scenario){
		   .shape = PMD, .no_spin = true, .mute = true }), 0);
}

/* ---- with a rule taken out ------------------------------------------------------------------ */

static int mutated(enum shape shape, bool mute, enum dax_test_mutation mutation)
{
	return play_in_child((struct scenario){
		.shape = shape, .no_spin = true, .mute = mute, .mutation = mutation });
}

static void without_passing_on(void)
{
	EQ(mutated(PTE, false, DAX_MUTATE_NO_PASS_ON), HUNG);
	EQ(mutated(PMD, false, DAX_MUTATE_NO_PASS_ON), HUNG);
}

static void without_waking_all(void)
{
	EQ(mutated(PTE, true, DAX_MUTATE_WAKE_ONE_ON_DELETE), HUNG);
	EQ(mutated(PMD, true, DAX_MUTATE_WAKE_ONE_ON_DELETE), HUNG);
}

static void without_rounding(void)
{
	EQ(mutated(PMD, false, DAX_MUTATE_KEY_NOT_ROUNDED), HUNG);
}

/* The window is a few hundred instructions and no hook stands in it: chance
 * finds it in some hundred rounds, so a second and a third run are granted. */
static void without_second_look(void)
{
	int status = 0;

	for (int i = 0; status == 0 && i < 3; i++)
		status = mutated(i & 1 ? PMD : PTE, false, DAX_MUTATE_NO_RECHECK);
	EQ(status, HUNG);
}

int main(void)
{
	plan(8);
	run("a PTE entry, 3000 rounds: no round hangs", pte_entry);
	run("a PMD entry, 3000 rounds: no round hangs", pmd_entry);
	run("a PMD entry that gives way to a PTE: no round hangs", downgraded_entry);
	run("waking all covers callers that do not pass on a gone entry", mute_callers);
	run("without passing on a round hangs", without_passing_on);
	run("without waking all on delete a round hangs", without_waking_all);
	run("with keys not rounded a round hangs", without_rounding);
	run("without the look after queueing a round hangs", without_second_look);
	return done();
}
