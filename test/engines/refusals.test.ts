/** What the refusals of servers and services are about, in the words that they use. */
import { describe, expect, it } from 'vitest';
import { describeError, type ErrorReply } from '../../engines/error-body.js';
import { errorOf as fromReply, HttpError } from '../../engines/http.js';
import { filterOf, fitOf, isUnsupported } from '../../engines/refusals.js';

const errorOf = (status: number, body: unknown) =>
  new HttpError(status, describeError(typeof body === 'string' ? body : JSON.stringify(body)));
const says = (message: string, status = 400) => errorOf(status, { error: { message } });

describe('the length of a prompt', () => {
  // Each is asked for 64 tokens, where nothing else is said.
  it.each<[string, HttpError, unknown, number?]>([
    ['DashScope', says('Range of input length should be [1, 30720]'), 'prompt'],
    ['DashScope, of a reply', says('Range of max_tokens should be [1, 40]'), { most: 40 }],
    ['Novita, of a reply', says('max_tokens: Value should be less than or equal to 40'), { most: 40 }],
    [
      'Bedrock, of a reply',
      says(
        'The maximum tokens you requested exceeds the model limit of 40. Try again with a maximum tokens value that is lower than 40.',
      ),
      { most: 40 },
    ],
    [
      'Gemini, of a reply',
      says(
        'Unable to submit request because it has a maxOutputTokens value of 64 but the supported range is from 1 (inclusive) to 41 (exclusive).',
      ),
      { most: 40 },
    ],
    [
      'OpenAI',
      says(
        "This model's maximum context length is 4097 tokens. However, your messages resulted in 5010 tokens. Please reduce the length of the messages.",
      ),
      'prompt',
    ],
    [
      'OpenAI, the sum',
      says(
        "This model's maximum context length is 4097 tokens. However, you requested 5596 tokens (1500 in the messages, 4096 in the completion). Please reduce the length of the messages or completion.",
      ),
      { room: 2597 },
      4096,
    ],
    ['OpenAI, the code alone', errorOf(400, { error: { message: 'no', code: 'context_length_exceeded' } }), 'prompt'],
    [
      'OpenAI, a text that is too long',
      errorOf(400, {
        error: {
          message:
            "Invalid 'messages[0].content': string too long. Expected a string with maximum length 10485760, but got a string with length 20000000 instead.",
          code: 'string_above_max_length',
        },
      }),
      'prompt',
    ],
    [
      'vLLM',
      says(
        "This model's maximum context length is 2048 tokens. However, you requested 2100 tokens (2036 in the messages, 64 in the completion). Please reduce the length of the messages or completion.",
      ),
      { room: 12 },
    ],
    [
      'vLLM, hardly any room',
      says(
        "This model's maximum context length is 2048 tokens. However, you requested 2109 tokens (2045 in the messages, 64 in the completion).",
      ),
      'prompt',
    ],
    [
      'vLLM, newer',
      says(
        "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096 tokens and your request has 50 input tokens (5000 > 4096 - 50).",
      ),
      { room: 4046 },
      5000,
    ],
    [
      'vLLM, the prompt',
      says(
        'The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that `max_model_len` is no smaller than the number of text tokens.',
      ),
      'prompt',
    ],
    [
      'vLLM, newest',
      says(
        "You passed 4090 input tokens and requested 64 output tokens. However, the model's context length is only 4096 tokens, resulting in a maximum input length of 4032 tokens. Please reduce the length of the input prompt.",
      ),
      'prompt',
    ],
    [
      'TGI',
      errorOf(422, {
        error:
          'Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and 500 `max_new_tokens`',
        error_type: 'validation',
      }),
      { room: 96 },
      500,
    ],
    [
      'TGI, the prompt',
      errorOf(422, {
        error: 'Input validation error: `inputs` must have less than 1024 tokens. Given: 2000',
        error_type: 'validation',
      }),
      'prompt',
    ],
    [
      'together',
      errorOf(422, {
        error: 'Validation: inputs tokens and max_new_tokens together may be at most 64, given are 60 and 64',
        error_type: 'validation',
      }),
      'prompt',
    ],
    [
      'a max_tokens that does not fit',
      errorOf(400, {
        object: 'error',
        message: 'max_tokens 64 does not fit: the maximum context length is 48 and the prompt has 20 tokens.',
        type: 'BadRequestError',
        code: 400,
      }),
      { room: 28 },
    ],
    [
      'Gemini, in a list',
      errorOf(400, [
        {
          error: {
            code: 400,
            message: 'The input token count (1200) exceeds the maximum number of tokens allowed (1000).',
            status: 'INVALID_ARGUMENT',
          },
        },
      ]),
      'prompt',
    ],
    [
      'more than allowed',
      errorOf(400, [{ error: { code: 400, message: 'The input has 1200 tokens, more than the 1000 allowed.' } }]),
      'prompt',
    ],
    [
      'Anthropic',
      errorOf(400, {
        type: 'error',
        error: { type: 'invalid_request_error', message: 'prompt is too long: 210000 tokens > 200000 maximum' },
      }),
      'prompt',
    ],
    [
      'Anthropic, the sum',
      says(
        'input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or `max_tokens` and try again',
      ),
      { room: 10000 },
      20000,
    ],
    [
      'Anthropic, the reply',
      says('max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens for this model'),
      { most: 8192 },
      100000,
    ],
    [
      'OpenAI, the reply',
      says(
        'max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000.',
      ),
      { most: 16384 },
      100000,
    ],
    [
      'DeepSeek, the reply',
      says('Invalid max_tokens value, the valid range of max_tokens is [1, 8192]'),
      { most: 8192 },
      10000,
    ],
    [
      'Groq, the reply',
      says(
        '`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model',
      ),
      { most: 8192 },
      10000,
    ],
    [
      'llama.cpp',
      errorOf(400, {
        error: {
          code: 400,
          message:
            'the request exceeds the available context size. try increasing the context size or enable context shift',
          type: 'exceed_context_size_error',
          n_prompt_tokens: 5000,
          n_ctx: 4096,
        },
      }),
      'prompt',
    ],
    [
      'Mistral',
      errorOf(400, {
        object: 'error',
        message:
          'Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length',
        type: 'invalid_request_error',
        code: '3051',
      }),
      'prompt',
    ],
    ['SGLang', says("The input (5000 tokens) is longer than the model's context length (4096 tokens)."), 'prompt'],
    [
      'SGLang, the sum',
      says(
        "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 4564 tokens: 4064 tokens from the input messages and 500 tokens for the completion.",
      ),
      'prompt',
      500,
    ],
    ['Bedrock', says('Input is too long for requested model.'), 'prompt'],
    [
      'Cohere',
      says(
        'too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 9000. Try using a shorter prompt',
      ),
      'prompt',
    ],
    [
      'numbers with commas',
      says('The prompt has 12,000 tokens. The context length is 8,192 and max_tokens is 64.'),
      'prompt',
    ],
    ['nginx', errorOf(413, '<html><head><title>413 Request Entity Too Large</title></head></html>'), 'prompt'],
    ['the sum, without numbers', says('Please reduce the length of the messages or completion.'), 'unclear'],
    [
      'the built-in server',
      says("The prompt has 60 tokens: none, or no room for an answer in the model's context of 48."),
      'prompt',
    ],
    ['a sentence in `detail`', errorOf(400, { detail: 'Prompt exceeds the context window' }), 'prompt'],
    [
      'a quota per minute',
      says('Request too large for gpt-4 on tokens per min (TPM): Limit 10000, Requested 20000.', 429),
      'prompt',
    ],
    // About something else.
    ['a role', says('Conversation roles must alternate user/assistant'), null],
    ['a temperature', says('temperature must be at most 2, and is 3'), null],
    ['a name', says('The model `m` does not exist', 404), null],
    ['choices', says('n must be at most 4'), null],
    ['stops', says('Invalid input: stop must have at most 4 elements'), null],
    ['images', says('At most 1 image is allowed in the input messages'), null],
    ['a range', says('max_tokens must be at least 1 and less than 100000'), null],
    ['requests', says('The request exceeds the limit of 10 concurrent requests'), null],
    ['a key', says('Incorrect API key provided: the maximum context of the token is exceeded', 401), null],
    ['too many requests', says('Rate limit reached: limit 10000 tokens, please reduce the length', 429), null],
    ['a failure', says('maximum context length exceeded in worker', 500), null],
  ])('%s', (_name, error, expected, maxTokens = 64) => {
    expect(fitOf(error, maxTokens)).toEqual(expected);
  });
});

describe('the content of a prompt', () => {
  it.each<[string, HttpError, string | null]>([
    ['DeepSeek', says('Content Exists Risk'), 'content_filter'],
    ['xAI', errorOf(403, { error: 'Content violates usage guidelines. Failed check: SAFETY' }), 'content_filter'],
    [
      'OpenAI',
      errorOf(400, { error: { message: 'The prompt was filtered by the content policy.', code: 'content_filter' } }),
      'content_filter',
    ],
    [
      'OpenAI, images and texts',
      errorOf(400, {
        error: {
          message: 'Your request was rejected as a result of our safety system.',
          code: 'content_policy_violation',
        },
      }),
      'content_policy_violation',
    ],
    [
      'OpenAI, reasoning',
      errorOf(400, {
        error: {
          message: 'Invalid prompt: your prompt was flagged as potentially violating our usage policy.',
          code: 'invalid_prompt',
        },
      }),
      'content_filter',
    ],
    [
      'Azure',
      errorOf(400, {
        error: {
          message: "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
          code: null,
          status: 400,
          innererror: { code: 'ResponsibleAIPolicyViolation', content_filter_result: { hate: { filtered: true } } },
        },
      }),
      'ResponsibleAIPolicyViolation',
    ],
    [
      'OpenRouter',
      errorOf(403, {
        error: {
          code: 403,
          message: 'm requires moderation on P. Your input was flagged for "violence"',
          metadata: { reasons: ['violence'], flagged_input: 'x' },
        },
      }),
      'content_filter',
    ],
    [
      'DashScope',
      errorOf(400, {
        error: {
          code: 'data_inspection_failed',
          message: 'Input data may contain inappropriate content.',
          type: 'data_inspection_failed',
        },
      }),
      'data_inspection_failed',
    ],
    [
      'Moonshot',
      errorOf(400, {
        error: { message: 'The request was rejected because it was considered high risk', type: 'content_filter' },
      }),
      'content_filter',
    ],
    [
      'Zhipu',
      errorOf(400, { error: { code: '1301', message: '系统检测到输入或生成内容可能包含不安全或敏感内容' } }),
      'content_filter',
    ],
    [
      'LiteLLM',
      errorOf(400, { error: { message: 'Violated guardrail policy', type: 'None', param: 'None', code: '400' } }),
      'content_filter',
    ],
    [
      'an account',
      errorOf(403, { error: { message: 'Your account was flagged for violating our usage policies.' } }),
      null,
    ],
    ['a key', errorOf(401, { error: { message: 'content_filter' } }), null],
    ['a failure', errorOf(500, { error: { message: 'content filter failed', code: 'content_filter' } }), null],
    ['a parameter', says('Unsupported parameter: seed'), null],
  ])('%s', (_name, error, expected) => {
    expect(filterOf(error)).toBe(expected);
  });
});

describe('a parameter', () => {
  it.each<[string, HttpError, string, boolean]>([
    [
      'OpenAI, reasoning models',
      errorOf(400, {
        error: {
          message:
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
          param: 'max_tokens',
          code: 'unsupported_parameter',
        },
      }),
      'max_tokens',
      true,
    ],
    [
      'OpenAI, a temperature',
      errorOf(400, {
        error: {
          message:
            "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported.",
          param: 'temperature',
          code: 'unsupported_value',
        },
      }),
      'temperature',
      true,
    ],
    [
      'OpenAI, an unknown one',
      errorOf(400, { error: { message: 'Unrecognized request argument supplied: top_k' } }),
      'top_k',
      true,
    ],
    [
      'Pydantic',
      errorOf(422, {
        detail: [{ type: 'extra_forbidden', loc: ['body', 'top_k'], msg: 'Extra inputs are not permitted', input: 3 }],
      }),
      'top_k',
      true,
    ],
    [
      'Mistral',
      errorOf(422, {
        object: 'error',
        message: {
          detail: [{ type: 'extra_forbidden', loc: ['body', 'seed'], msg: 'Extra inputs are not permitted' }],
        },
      }),
      'seed',
      true,
    ],
    [
      'Gemini',
      errorOf(400, [
        { error: { code: 400, message: 'Invalid JSON payload received. Unknown name "top_k": Cannot find field.' } },
      ]),
      'top_k',
      true,
    ],
    [
      'Groq',
      errorOf(400, { error: { message: "'n' : number must be at most 1", type: 'invalid_request_error' } }),
      'n',
      true,
    ],
    ['llama.cpp', says('Only one completion choice is allowed; n must be 1'), 'n', true],
    [
      'Cerebras',
      errorOf(400, {
        message: "property 'seed' is unsupported",
        type: 'invalid_request_error',
        param: 'validation_error',
        code: 'wrong_api_format',
      }),
      'seed',
      true,
    ],
    [
      'a bound of n',
      errorOf(400, { error: { message: 'Too big: expected number to be <= 8, which is the maximum', param: 'n' } }),
      'n',
      true,
    ],
    ['llama.cpp, older', says('Only one completion choice is allowed', 500), 'n', true],
    ['a bound of seeds', says('seed: Input should be less than or equal to 65535', 422), 'seed', true],
    [
      'Anthropic, one of two',
      says('`temperature` and `top_p` cannot both be specified for this model.'),
      'top_p',
      true,
    ],
    ['the other one of two', says('`temperature` and `top_p` cannot both be specified.'), 'temperature', false],
    ['TGI', says('Input validation error: `top_p` must be > 0.0 and < 1.0', 422), 'top_p', true],
    ['a bound of max_tokens', says('InvalidParameter: Range of max_tokens should be [1, 40]'), 'max_tokens', false],
    ['another one', says("Unsupported parameter: 'seed'"), 'top_k', false],
    ['a value of the user', says("'temperature' must be at most 2"), 'temperature', false],
    ['a word', says('unknown error: it fell on stony seed ground'), 'seed', false],
    ['its name is a part of another', says("Unsupported parameter: 'max_tokens_per_minute'"), 'max_tokens', false],
  ])('%s', (_name, error, parameter, expected) => {
    expect(isUnsupported(error, parameter, 1)).toBe(expected);
  });
});

describe('a wait that helps', () => {
  const transient = (status: number, error: object, headers = {}) =>
    fromReply({ status, headers, body: Buffer.from(JSON.stringify({ error })) }).isTransient;
  it.each<[string, boolean, boolean]>([
    [
      'Groq, a minute',
      transient(429, {
        message: 'Rate limit reached. Please try again in 1s. Upgrade at https://console.groq.com/settings/billing',
        code: 'rate_limit_exceeded',
      }),
      true,
    ],
    [
      'Gemini, a minute',
      transient(429, {
        message: 'You exceeded your current quota, please check your plan and billing. Please retry in 37.4s.',
      }),
      true,
    ],
    [
      'OpenAI, money',
      transient(429, { message: 'You exceeded your current quota, please check your plan and billing details.' }),
      false,
    ],
    ['Zhipu, money', transient(429, { code: '1113', message: '您的账户已欠费，请充值后重试。' }), false],
    [
      'LiteLLM, a budget',
      transient(429, { message: 'Budget has been exceeded! Current cost: 10.2, Max budget: 10.0' }),
      false,
    ],
    ['Hugging Face, money', transient(429, { message: 'You have exceeded your monthly included credits' }), false],
    ['a limit with another status', transient(403, { message: 'slow down', code: 'rate_limit' }), true],
    ['Groq, a prompt', transient(413, { message: 'too large', code: 'rate_limit_exceeded' }), false],
    ['no capacity', transient(498, { message: 'no' }), true],
  ])('%s', (_name, found, expected) => {
    expect(found).toBe(expected);
  });
});

describe('the message of an error', () => {
  it.each<[string, unknown, Partial<ErrorReply>]>([
    ['a list', [{ error: { message: 'no' } }], { message: 'no' }],
    ['a sentence', { error: 'no', error_type: 'validation' }, { message: 'no', type: 'validation' }],
    ['details', { detail: [{ loc: ['body', 'n'], msg: 'too many' }] }, { message: 'n: too many', param: 'n' }],
    [
      'an error behind a router',
      {
        error: { message: 'Provider returned error', code: 400, metadata: { raw: '{"error":{"message":"too long"}}' } },
      },
      { message: 'Provider returned error: too long', status: 400 },
    ],
    ['nothing', { a: 1 }, { message: '{"a":1}' }],
    ['no JSON', '<html>', { message: '<html>' }],
    [
      'a page',
      '<html><head><title>502 Bad Gateway</title></head><body>',
      { message: 'a page with the title "502 Bad Gateway"' },
    ],
  ])('%s', (_name, body, expected) => {
    expect(errorOf(400, body).reply).toMatchObject(expected);
  });
});
