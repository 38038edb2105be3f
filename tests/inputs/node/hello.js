// SPDX-License-Identifier: Apache-2.0

// What build scripts ask of the machine they run on: where node itself is, to start it once more
// (here of one that was found by its name, as npm starts it), how many processes to start, and how
// much memory is in use.
const childProcess = require('child_process');
const os = require('os');
const path = require('path');

const nodePath = () =>
  childProcess.execFileSync('node', ['--print', 'process.execPath'], { encoding: 'utf8' });

const questions = {
  'process.execPath': () => path.isAbsolute(nodePath()),
  'os.cpus()': () => os.cpus().length > 0,
  'process.memoryUsage()': () => process.memoryUsage().rss > 0,
};

const wrong = Object.keys(questions).filter((question) => {
  try {
    return !questions[question]();
  } catch (error) {
    console.log(`${question}: ${error.message}`);
    return true;
  }
});

console.log(wrong.length ? `wrong: ${wrong.join(', ')}` : 'hello from node');
process.exitCode = wrong.length ? 1 : 0;
