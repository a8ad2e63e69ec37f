/** Addresses as people paste them. Pure. */

/** Without spaces, slashes at its end, and the path of a request. */
export const addressOf = (baseUrl: string): string =>
  baseUrl
    .trim()
    .replace(/\/+$/, '')
    .replace(/\/(?:chat\/)?completions$/, '')
    .replace(/\/+$/, '');

const AZURE_HOST = /\.(?:openai\.azure\.(?:com|us|cn)|cognitiveservices\.azure\.(?:com|us|cn))$/i;
/** The newest version of Azure's older API that is not a preview. */
const AZURE_VERSION = '2024-10-21';

/** null: a plain address. Azure's newer API (`/openai/v1`) is one, too. */
export function azureOf(baseUrl: string, azure: { apiVersion: string } | undefined): { apiVersion: string } | null {
  if (azure) return azure;
  const { hostname, pathname } = new URL(baseUrl);
  return AZURE_HOST.test(hostname) && !/\/v1$/.test(pathname) ? { apiVersion: AZURE_VERSION } : null;
}
