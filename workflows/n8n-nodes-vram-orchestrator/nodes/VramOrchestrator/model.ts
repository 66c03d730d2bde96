import type { INodeProperties } from 'n8n-workflow';

// The API takes no empty owner; a field that was left blank is a wish for none.
const UNLESS_BLANK = '={{ String($value ?? "").trim() || undefined }}';

export const modelOperations: INodeProperties[] = [
	{
		displayName: 'Operation',
		name: 'operation',
		type: 'options',
		noDataExpression: true,
		displayOptions: { show: { resource: ['model'] } },
		options: [
			{
				name: 'Get Operation',
				value: 'getOperation',
				action: 'Get operation of model',
				description: 'Retrieve what became of a load that was not waited for',
				routing: {
					request: {
						method: 'GET',
						url: '=/operations/{{encodeURIComponent($parameter["operationId"])}}',
					},
				},
			},
			{
				name: 'Get Status',
				value: 'status',
				action: 'Get model status',
				description: 'Retrieve GPU memory and loaded models',
				routing: { request: { method: 'GET', url: '/models/status' } },
			},
			{
				name: 'Load',
				value: 'load',
				action: 'Load model',
				description: 'Have a model ready, making room as the rules allow',
				routing: { request: { method: 'POST', url: '/models/load' } },
			},
			{
				name: 'Plan',
				value: 'plan',
				action: 'Plan loading model',
				description: 'Find out what a load would do, without doing it',
				routing: { request: { method: 'POST', url: '/models/plan' } },
			},
			{
				name: 'Unload',
				value: 'unload',
				action: 'Unload model',
				description: 'Let a model go and free its GPU memory',
				routing: { request: { method: 'POST', url: '/models/unload' } },
			},
		],
		default: 'status',
	},
];

export const modelFields: INodeProperties[] = [
	{
		displayName: 'Model Name or ID',
		name: 'model',
		type: 'options',
		required: true,
		default: '',
		description:
			'Choose from the list, or specify an ID using an <a href="https://docs.n8n.io/code/expressions/">expression</a>',
		displayOptions: { show: { resource: ['model'], operation: ['load', 'plan', 'unload'] } },
		typeOptions: {
			loadOptions: {
				routing: {
					request: { method: 'GET', url: '/models' },
					output: {
						postReceive: [
							{ type: 'rootProperty', properties: { property: 'data' } },
							{
								type: 'setKeyValue',
								properties: {
									name: '={{$responseItem.id}} ({{$responseItem.state}}, {{$responseItem.vram_mb}} MB)',
									value: '={{$responseItem.id}}',
								},
							},
							{ type: 'sort', properties: { key: 'name' } },
						],
					},
				},
			},
		},
		routing: { send: { type: 'body', property: 'model' } },
	},
	{
		displayName: 'Operation ID',
		name: 'operationId',
		type: 'string',
		required: true,
		default: '',
		placeholder: 'e.g. {{ $json.operation_id }}',
		description: 'What the Load operation answered as operation_id',
		displayOptions: { show: { resource: ['model'], operation: ['getOperation'] } },
	},
	{
		displayName: 'Force',
		name: 'force',
		type: 'boolean',
		default: false,
		description: 'Whether to unload the model even if it is in use or pinned',
		displayOptions: { show: { resource: ['model'], operation: ['unload'] } },
		routing: { send: { type: 'body', property: 'force' } },
	},
	{
		displayName: 'Additional Fields',
		name: 'loadFields',
		type: 'collection',
		placeholder: 'Add Field',
		default: {},
		displayOptions: { show: { resource: ['model'], operation: ['load', 'plan'] } },
		options: [
			{
				displayName: 'Context Size',
				name: 'contextSize',
				type: 'number',
				typeOptions: { minValue: 1 },
				default: 8192,
				description: 'Tokens of context, where the configured number should not hold',
				routing: { send: { type: 'body', property: 'context_size' } },
			},
			{
				displayName: 'Lease (Seconds)',
				name: 'leaseSeconds',
				type: 'number',
				typeOptions: { minValue: 1 },
				default: 600,
				description: 'How long the model may not be evicted, unless it is released before',
				routing: { send: { type: 'body', property: 'lease_seconds' } },
			},
			{
				displayName: 'Owner',
				name: 'owner',
				type: 'string',
				default: '',
				placeholder: 'e.g. nightly-report',
				description: 'Who keeps the model: an unload with the same owner ends this hold only',
				routing: { send: { type: 'body', property: 'owner', value: UNLESS_BLANK } },
			},
			{
				displayName: 'Priority',
				name: 'priority',
				type: 'number',
				default: 5,
				description: 'Importance of the request; higher matters more',
				routing: { send: { type: 'body', property: 'priority' } },
			},
			{
				displayName: 'Time to Live (Seconds)',
				name: 'ttlSeconds',
				type: 'number',
				typeOptions: { minValue: 0 },
				default: 600,
				description: 'Idle seconds after which the model leaves by itself',
				routing: { send: { type: 'body', property: 'ttl_seconds' } },
			},
			{
				displayName: 'Wait (Seconds)',
				name: 'wait',
				type: 'number',
				typeOptions: { minValue: 0, maxValue: 290 },
				default: 240,
				description: 'How long to wait for the model; 0 answers at once, with an operation ID for Get Operation',
				routing: { send: { type: 'body', property: 'wait' } },
			},
		],
	},
	{
		displayName: 'Additional Fields',
		name: 'unloadFields',
		type: 'collection',
		placeholder: 'Add Field',
		default: {},
		displayOptions: { show: { resource: ['model'], operation: ['unload'] } },
		options: [
			{
				displayName: 'Owner',
				name: 'owner',
				type: 'string',
				default: '',
				placeholder: 'e.g. nightly-report',
				description: 'End the hold of this owner only; the model leaves when nobody else has one',
				routing: { send: { type: 'body', property: 'owner', value: UNLESS_BLANK } },
			},
			{
				displayName: 'Wait (Seconds)',
				name: 'wait',
				type: 'number',
				typeOptions: { minValue: 0, maxValue: 290 },
				default: 240,
				description: 'How long requests that are running may take to finish',
				routing: { send: { type: 'body', property: 'wait' } },
			},
		],
	},
];
