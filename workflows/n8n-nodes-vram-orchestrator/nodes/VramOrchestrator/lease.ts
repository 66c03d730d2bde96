import type { INodeProperties } from 'n8n-workflow';

const LEASE_URL = '=/vram/leases/{{encodeURIComponent($parameter["leaseId"])}}';

export const leaseOperations: INodeProperties[] = [
	{
		displayName: 'Operation',
		name: 'operation',
		type: 'options',
		noDataExpression: true,
		displayOptions: { show: { resource: ['lease'] } },
		options: [
			{
				name: 'Lease',
				value: 'lease',
				action: 'Lease VRAM',
				description: 'Have room for work that is not a model server',
				routing: { request: { method: 'POST', url: '/vram/leases' } },
			},
			{
				name: 'Release',
				value: 'release',
				action: 'Release VRAM',
				description: 'Give the room back; doing so twice is no error',
				routing: {
					request: { method: 'DELETE', url: LEASE_URL },
					output: {
						postReceive: [
							{
								type: 'set',
								properties: {
									value: '={{ { "success": true, "lease_id": $parameter["leaseId"] } }}',
								},
							},
						],
					},
				},
			},
			{
				name: 'Renew',
				value: 'renew',
				action: 'Renew VRAM lease',
				description: 'Have a lease last longer, from now',
				routing: { request: { method: 'PUT', url: LEASE_URL } },
			},
		],
		default: 'lease',
	},
];

export const leaseFields: INodeProperties[] = [
	{
		displayName: 'VRAM (MB)',
		name: 'vramMb',
		type: 'number',
		typeOptions: { minValue: 1 },
		required: true,
		default: 8192,
		description: 'How much room to lease, counted as nvidia-smi does',
		displayOptions: { show: { resource: ['lease'], operation: ['lease'] } },
		routing: { send: { type: 'body', property: 'vram_mb' } },
	},
	{
		displayName: 'Owner',
		name: 'owner',
		type: 'string',
		required: true,
		default: '',
		placeholder: 'e.g. comfyui',
		description: 'Who works there; the status shows it',
		displayOptions: { show: { resource: ['lease'], operation: ['lease'] } },
		routing: { send: { type: 'body', property: 'owner' } },
	},
	{
		displayName: 'Lease ID',
		name: 'leaseId',
		type: 'string',
		required: true,
		default: '',
		placeholder: 'e.g. {{ $json.lease_id }}',
		description: 'What the Lease operation answered as lease_id',
		displayOptions: { show: { resource: ['lease'], operation: ['release', 'renew'] } },
	},
	{
		displayName: 'Time to Live (Seconds)',
		name: 'ttlSeconds',
		type: 'number',
		typeOptions: { minValue: 1 },
		required: true,
		default: 600,
		description: 'When the lease ends by itself, unless it is renewed',
		displayOptions: { show: { resource: ['lease'], operation: ['lease', 'renew'] } },
		routing: { send: { type: 'body', property: 'ttl_seconds' } },
	},
	{
		displayName: 'Additional Fields',
		name: 'leaseFields',
		type: 'collection',
		placeholder: 'Add Field',
		default: {},
		displayOptions: { show: { resource: ['lease'], operation: ['lease'] } },
		options: [
			{
				displayName: 'Device',
				name: 'device',
				type: 'string',
				default: '',
				description: 'ID of one GPU; any of them if not given',
				routing: { send: { type: 'body', property: 'device' } },
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
				displayName: 'Wait (Seconds)',
				name: 'wait',
				type: 'number',
				typeOptions: { minValue: 0, maxValue: 290 },
				default: 240,
				description: 'How long to wait for the room',
				routing: { send: { type: 'body', property: 'wait' } },
			},
		],
	},
];
