import { parse } from 'acorn';

/** Function that stands for `import(…)`: code of V8's inspector has no module that it could belong to. */
export const IMPORT = '__wrenn_import';

/**
 * A cell as it is given to V8: what it declares at the top level may be declared again by the next run of it, import
 * statements are allowed, and a dynamic import works. Lines keep their numbers.
 * @throws {SyntaxError}
 */
export function rewrite(code) {
  const tree = parse(code, {
    ecmaVersion: 'latest',
    sourceType: 'module',
    allowHashBang: true,
    allowReturnOutsideFunction: false,
  });
  const edits = [];
  for (const node of tree.body) edits.push(...topLevelEdits(node, code));
  dynamicImports(tree, edits);
  return apply(code, edits);
}

function topLevelEdits(node, code) {
  switch (node.type) {
    case 'VariableDeclaration':
      return node.kind === 'var' ? [] : [[node.start, node.start + node.kind.length, 'var']];
    case 'ClassDeclaration':
      return [
        [node.start, node.start, `var ${node.id.name} = `],
        [node.end, node.end, ';'],
      ];
    case 'ImportDeclaration':
      return [[node.start, node.end, importAsCall(node) + newlines(code.slice(node.start, node.end))]];
    case 'ExportNamedDeclaration':
      return node.declaration
        ? [[node.start, node.declaration.start, ''], ...topLevelEdits(node.declaration, code)]
        : [];
    default:
      return [];
  }
}

function importAsCall({ specifiers, source }) {
  const module = `await ${IMPORT}(${source.raw})`;
  const whole = specifiers.find(({ type }) => type === 'ImportNamespaceSpecifier');
  const names = specifiers
    .filter(({ type }) => type !== 'ImportNamespaceSpecifier')
    .map(({ type, imported, local }) => {
      const name = type === 'ImportDefaultSpecifier' ? 'default' : (imported.name ?? imported.raw);
      return name === local.name ? name : `${name}: ${local.name}`;
    });
  const parts = [];
  if (whole) parts.push(`var ${whole.local.name} = ${module};`);
  if (names.length > 0) parts.push(`var {${names.join(', ')}} = ${whole ? whole.local.name : module};`);
  return parts.length > 0 ? parts.join(' ') : `${module};`;
}

function dynamicImports(node, edits) {
  if (Array.isArray(node)) for (const item of node) dynamicImports(item, edits);
  if (node === null || typeof node !== 'object' || typeof node.type !== 'string') return;
  if (node.type === 'ImportExpression') edits.push([node.start, node.start + 'import'.length, IMPORT]);
  for (const value of Object.values(node)) if (typeof value === 'object') dynamicImports(value, edits);
}

function newlines(text) {
  return text.replaceAll(/[^\n]/g, '');
}

/** From the end to the start, so that positions stay true. */
function apply(code, edits) {
  let text = code;
  for (const [start, end, replacement] of edits.sort((a, b) => b[0] - a[0] || b[1] - a[1])) {
    text = text.slice(0, start) + replacement + text.slice(end);
  }
  return text;
}
