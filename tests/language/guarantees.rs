//! What each key guarantees.

/// A job that is named after its guarantee, and the status and log that it must have.
pub(crate) struct Guarantee {
    pub(crate) name: &'static str,
    /// The job's keys, as in a file.
    pub(crate) keys: &'static str,
    pub(crate) status: &'static str,
    pub(crate) log: &'static str,
}

const fn holds(name: &'static str, keys: &'static str, log: &'static str) -> Guarantee {
    Guarantee { name, keys, status: "success", log }
}

pub(crate) const GUARANTEES: &[Guarantee] = &[
    holds(
        "a-steps-env-wins-over-the-jobs-and-the-jobs-over-the-pipelines",
        "env: { B: job, C: job }
steps: [{ run: 'echo $A $B $C', env: { C: step } }]",
        "pipeline job step\n",
    ),
    holds(
        "defaults-give-image-and-working-directory",
        "steps: [{ run: pwd }, { run: pwd, working-directory: /tmp }]",
        "/longshore/workspace/sub\n/tmp\n",
    ),
    holds(
        "a-shell-may-be-any-program-that-takes-a-file",
        "steps: [{ run: '3 4 * p', shell: sed -n 1p }]",
        "3 4 * p\n",
    ),
    holds(
        "outputs-of-steps-and-jobs-reach-who-asks-for-them",
        "needs: gives-outputs
env: { GIVEN: '${{ needs.gives-outputs.outputs.both }}' }
steps: [{ run: 'echo $GIVEN ${{ needs.gives-outputs.result }}' }]",
        "1.2 and x=y success\n",
    ),
    holds(
        "variables-and-paths-that-a-step-adds-are-there-for-the-next",
        "steps:
  - run: |
      echo WORD=said >> \"$LONGSHORE_ENV\"
      mkdir /tmp/bin; printf '#!/bin/sh\\necho found\\n' > /tmp/bin/mine; chmod +x /tmp/bin/mine
      echo /tmp/bin >> \"$LONGSHORE_PATH\"
      echo '# All is well' >> \"$LONGSHORE_SUMMARY\"
  - run: echo $WORD; mine",
        "said\nfound\n",
    ),
    holds(
        "without-checkout-the-workspace-is-empty",
        "checkout: false
steps: [{ run: ls -A | wc -l, working-directory: . }]",
        "0\n",
    ),
    holds(
        "depth-brings-as-much-history-as-it-says",
        "image: longshore/debian:bookworm
checkout: { depth: 2 }
steps: [{ run: 'git log --format=%s | cat; git rev-parse --is-shallow-repository', working-directory: . }]",
        "change\nbefore\nfalse\n",
    ),
    holds(
        "secrets-come-as-variables-renamed-or-as-files-and-no-other-does",
        "secrets: [ONE, { name: TWO, as: RENAMED }, { name: THREE, as: THREE_FILE, file: true }]
steps: [{ run: 'test \"$ONE\" = secret-one && test \"$RENAMED\" = secret-two && test \"$(cat $THREE_FILE)\" = secret-three && echo all; echo \"[$TWO$FOUR]\" $ONE' }]",
        "all\n[] ***\n",
    ),
    holds(
        "a-secret-without-a-variable-has-only-what-refers-to-it",
        "secrets: [{ name: ONE, env: false }]
steps: [{ run: 'echo \"[$ONE]\"' }, { run: 'test \"$MINE\" = secret-one && echo $MINE', env: { MINE: '${{ secrets.ONE }}' } }]",
        "[]\n***\n",
    ),
    Guarantee {
        name: "a-job-over-its-timeout-is-timed-out-and-may-be-passed-over",
        keys: "timeout: 1s
continue-on-error: true
steps: [{ run: sleep 60 }, { run: 'echo cleaned up', if: always() }]",
        status: "timed-out",
        log: "cleaned up\n",
    },
    holds(
        "resources-are-what-the-container-may-use",
        "resources: { memory: 96MiB, pids: 77, shm: 8MiB, cpu: 0.5 }
steps: [{ run: 'cut -d\" \" -f1 /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null | head -1; df -k /dev/shm | tail -1 | { read _ size _; echo $size; }; cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null | head -1; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null | head -1' }]",
        "50000\n8192\n77\n100663296\n",
    ),
    holds(
        "an-image-and-an-if-may-ask-for-what-is-known-by-then",
        "needs: gives-outputs
image: \"longshore-test/busybox:${{ needs.gives-outputs.outputs.both == '1.2 and x=y' && 'latest' || 'none' }}\"
if: needs.gives-outputs.outputs.both != ''
steps:
  - { run: 'echo ${{ build.number }} $CI_PIPELINE_NUMBER', env: { A: b } }
  - { run: 'echo ${{ hash-files(\"sub/file\") == hash-files(\"sub/*\") }}${{ hash-files(\"none\") }}' }",
        "1 1\ntrue\n",
    ),
    holds(
        "a-step-runs-as-its-user-with-home-and-groups",
        "steps: [{ run: 'id -un; echo $HOME; id -Gn', user: tester }, { run: 'id -u', user: '77:88' }]",
        "tester\n/home/tester\ntester extra\n77\n",
    ),
    holds(
        "a-step-with-tty-has-a-terminal-and-others-have-none",
        "steps: [{ run: 'test -t 1 && echo yes', tty: true }, { run: 'test -t 1 || echo no' }]",
        "yes\nno\n",
    ),
    holds(
        "a-step-in-the-background-runs-beside-the-next-ones",
        "steps:
  - { run: 'while sleep 0.05; do touch /tmp/alive; done', background: true }
  - { run: 'until test -e /tmp/alive; do sleep 0.05; done; echo it lives' }",
        "it lives\n",
    ),
    holds(
        "a-step-may-fail-be-tried-again-and-run-out-of-time",
        "steps:
  - { run: exit 3, id: fails, continue-on-error: true }
  - { run: 'echo ${{ steps.fails.outcome }} ${{ steps.fails.conclusion }}' }
  - { run: 'echo once more; test -e /tmp/second || { touch /tmp/second; exit 1; }', retry: 1 }
  - { run: sleep 60, timeout: 1s, continue-on-error: true }
  - { run: echo on }",
        "failure success\nonce more\nonce more\non\n",
    ),
    Guarantee {
        name: "steps-run-as-their-if-says-when-something-failed",
        keys: "continue-on-error: true
steps:
  - run: exit 4
  - { run: echo not this }
  - { run: echo this, if: failure() }
  - { run: echo and this, if: \"always() && event.name == 'push'\" }
  - { run: echo nor this, if: cancelled() }",
        status: "failure",
        log: "this\nand this\n",
    },
    holds(
        "a-template-gives-the-job-and-takes-inputs",
        "use: ./ci/template.yml
with: { word: given }
env: { MORE: of this }",
        "given of this\n",
    ),
    holds(
        "services-answer-by-their-names-once-they-are-ready",
        "services:
  web: { image: 'longshore-test/busybox:latest', command: [sh, -c, 'sleep 0.3; while :; do echo $WORD | nc -l -p 8080; done'], env: { WORD: '${{ secrets.ONE }}${{ build.number }}' }, ready: { tcp: 8080 }, user: tester, resources: { memory: 64MiB } }
secrets: [ONE]
steps: [{ run: 'until out=$(nc web 8080 </dev/null 2>&-) && [ -n \"$out\" ]; do sleep 0.05; done; echo $out' }]",
        "***1\n",
    ),
    holds(
        "a-step-with-an-image-of-its-own-shares-workspace-and-values",
        "outputs: { both: '${{ steps.own.outputs.word }}' }
steps:
  - run: echo one > file
  - { id: own, image: 'longshore-test/busybox:latest', run: 'cat file; echo two > file; echo word=said >> \"$LONGSHORE_OUTPUT\"; echo MORE=yes >> \"$LONGSHORE_ENV\"' }
  - { image: 'longshore-test/busybox:${{ steps.own.outcome == \"success\" && \"latest\" || \"none\" }}', entrypoint: [sh, -c], command: ['cat file; echo $PLUGIN_A_B $MORE $DRONE_REPO'], with: { a-b: [x, y] } }",
        "one\ntwo\nx,y yes team/app\n",
    ),
    Guarantee {
        name: "a-job-whose-if-does-not-hold-is-skipped",
        keys: "if: event.branch != 'main'
steps: [{ run: echo no }]",
        status: "skipped",
        log: "",
    },
];
