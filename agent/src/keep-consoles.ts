import { keepConsoles } from './console-keeper.ts';
import { AgentFiles } from './files.ts';

/** `node keep-consoles.ts ROOT`: keeps console logs small for as long as VMs run (console-keeper.ts). */
const [, , root] = process.argv;
if (root === undefined) throw new Error('the root folder of an agent is missing');
await keepConsoles(new AgentFiles(root));
